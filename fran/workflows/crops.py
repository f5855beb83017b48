"""`fran crops`: a picture of the augmented crops that a training would see."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fran.errors import SettingProblem
from fran.workflows.entry import Job, run_verb
from fran.workflows.plan_data import data_of
from fran.workflows.projects import existing_project
from fran.workflows.schema import CropsConfig, TrainConfig
from fran.workflows.terminal import say
from fran.workflows.train import spec_of, split_of

if TYPE_CHECKING:
    from fran.augmentation.batched import BatchAugmentation
    from fran.augmentation.settings import AugmentationSettings
    from fran.data.crops import CropDataset
    from fran.reporting.crops import Crop
    from fran.training.spec import TrainSpec

TRIES = 3


def crops(job: Job[CropsConfig]) -> None:
    """Draw the first crops of a training, augmented; or one crop under each operation alone."""
    from fran.reporting.crops import draw_crops

    config = job.config
    project = existing_project(config.paths, config.project)
    # a Job is read-only here, so one of a richer configuration will do
    spec = spec_of(cast("Job[TrainConfig]", job), project, data_of(project, job), split_of(project, config), Path())
    if config.operations:
        drawn, name, columns = by_operation(spec), "operations.png", 2 * TRIES
    else:
        drawn, name, columns = of_training(spec, config.count), "crops.png", 6
    folder = Path(config.output).expanduser() if config.output else project.folders.project / "crops"
    file = draw_crops(drawn, spec.data.labels.channel_names, spec.spacing_mm, folder / name, columns)
    say(str(file))


def of_training(spec: TrainSpec, count: int) -> list[Crop]:
    """The first crops of a training, augmented."""
    source = _source(spec, spec.augmentation)
    return [_crop(source, index) for index in range(count)]


def by_operation(spec: TrainSpec) -> list[Crop]:
    """The crop as it is, and a few draws of each operation alone on it."""
    from fran.augmentation.settings import no_augmentation, single_operations

    result = [_crop(_source(spec, no_augmentation()), 0, "as it is")]
    for name, settings in single_operations(spec.augmentation).items():
        source = _source(spec, settings)
        result += [_crop(source, 0, name, shift) for shift in range(TRIES)]
    return result


def _source(spec: TrainSpec, augmentation: AugmentationSettings) -> tuple[CropDataset, BatchAugmentation]:
    """The crops of the training under some augmentation, and that augmentation."""
    from fran.training.parts import augmentation_of, make_datamodule

    spec = replace(spec, augmentation=augmentation)
    return make_datamodule(spec, on_gpu=False).crops, augmentation_of(spec)


def _crop(source: tuple[CropDataset, BatchAugmentation], index: int, title: str = "", another_seed: int = 0) -> Crop:
    """Crop number `index`, augmented.

    `another_seed` changes what is drawn, not where the crop lies: then the slice through the patch's middle is drawn.
    """
    from fran import keys
    from fran.augmentation.prepare import prepare_batch
    from fran.data.crops import collate
    from fran.reporting.crops import Crop

    dataset, augment = copy(source[0]), source[1]
    dataset.margins = lambda seed, size: augment.margins(seed + another_seed, size)
    if (artefacts := dataset.artefacts) is not None:
        dataset.artefacts = lambda stored, window, seed: artefacts(stored, window, seed + another_seed)
    sample = dataset[index]
    sample[keys.SEED] += another_seed
    batch = prepare_batch(collate([sample]), augment)
    image, lm = batch[keys.IMAGE][0, 0].numpy(), batch[keys.LM][0, 0].numpy()
    return Crop(title or str(sample[keys.CASE_ID]), image, lm, lm.shape[2] // 2 if title else None)


def check(config: CropsConfig) -> list[SettingProblem]:
    """Settings that cannot work."""
    found = [*config.trainer.problems(), *config.augmentation.problems()]
    return found if config.count > 0 else [*found, SettingProblem("count", config.count, "1 or more")]


def main() -> None:
    """Entry of `fran crops`."""
    run_verb("crops", CropsConfig, crops, check)
