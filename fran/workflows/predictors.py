"""From the settings of `fran infer` to predictors: runs, their ensemble, and what says where a case is cut."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, NothingNamedSo, StoreError, choices
from fran.workflows.label_flow import label_table

if TYPE_CHECKING:
    from fran.inference.case import Segmenter
    from fran.inference.crops import GuideFolder
    from fran.inference.pool import Pool
    from fran.inference.predictor import Predictor
    from fran.io.checkpoint import ModelFile
    from fran.workflows.model_sources import ModelSources
    from fran.workflows.schema import InferConfig

log = logging.getLogger("fran.infer")

#: What `localiser=` says to predict whole images.
NOBODY = "none"


def segmenter(config: InferConfig, runs: Sequence[Sequence[ModelFile]], sources: ModelSources) -> Segmenter:
    """The ensemble of some runs.

    Args:
        config: of `fran infer`.
        runs: models of each; a bundle may hold several.
        sources: where a localiser is looked for.

    Raises:
        ConfigError: runs that cannot be applied together, or a localiser that is needed and not named.
        StoreError: a checkpoint that is missing or cannot be read.
    """
    from fran.inference.vote import Vote

    if config.ensemble == "vote":
        return Vote([_predictor(config, models, sources) for models in runs])
    return _predictor(config, [model for models in runs for model in models], sources)


def pool(config: InferConfig, make: Callable[[InferConfig], Segmenter]) -> Pool:
    """Workers on a Ray cluster, each with what `make` makes; it is made here once, so that errors come at once."""
    from fran.inference.pool import Pool
    from fran.parallel.actors import Actors

    modality = make(replace(config, device="cpu")).modality
    gpus = 0.0 if config.device == "cpu" else config.actor_gpus
    actors = Actors(config.ray_address, config.actors, config.actor_cpus, gpus)
    places = {name: os.environ[name] for name in ("FRAN_HOME", "FRAN_CONF", "FRAN_COMMON_PATHS") if name in os.environ}
    return Pool(partial(_made_elsewhere, places, make, config), modality, actors)


def _made_elsewhere(
    places: Mapping[str, str], make: Callable[[InferConfig], Segmenter], config: InferConfig
) -> Segmenter:
    os.environ.update(places)
    return make(config)


def is_path(run: str) -> bool:
    """Whether what stands for a run can only be a file or folder: names of runs have neither slash nor ending.

    Example:
        >>> is_path("kits.zip"), is_path("runs/kits"), is_path("plan1-dynunet-f0-1")
        (True, True, False)
    """
    return "/" in run or run.lower().endswith((".zip", ".ckpt"))


def find_checkpoint(run: str, checkpoints: Path, which: str, key: str = "runs") -> Path:
    """Checkpoint file of a run's name, of a run folder, or of a file.

    Raises:
        NothingNamedSo: there is none; the message lists the project's runs, or says where a file was looked for.
    """
    named = Path(run).expanduser()
    if named.is_file():
        return named
    folder = named if named.is_dir() else checkpoints / run
    # a run that was never validated has no best checkpoint
    found = next((file for file in (folder / f"{which}.ckpt", folder / "last.ckpt") if file.is_file()), None)
    if found is None and is_path(run) and not named.exists():
        where = "" if named.is_absolute() else f" in {Path.cwd()}, where the command was typed"
        raise NothingNamedSo(f"{key}: no such file or folder '{run}'{where}; give its path, or the name of a run")
    if found is None:
        known = sorted(p.parent.name for p in checkpoints.glob("*/last.ckpt"))
        raise NothingNamedSo(f"{key}: no checkpoint of '{run}' in {checkpoints}; {choices(run, known)}")
    return found


def _predictor(config: InferConfig, models: Sequence[ModelFile], sources: ModelSources) -> Predictor:
    from fran.inference.crops import CropRule, GuideFolder
    from fran.inference.predictor import Predictor

    crop = CropRule.of(models[0].meta, config.margin_mm, config.localiser_regions, config.localiser_empty)
    localiser = _localiser(config, models[0], sources)
    if isinstance(localiser, GuideFolder) and not localiser.names and crop.regions is not None:
        crop = replace(crop, regions=_by_table(crop.regions))
    mirror = config.mirror if isinstance(config.mirror, str) else tuple(config.mirror)
    return Predictor(models, mirror=mirror, localiser=localiser, crop=crop, **_machine(config))


def _by_table(regions: Sequence[str]) -> tuple[str, ...]:
    """Values of regions by the label table, for label maps of another origin that name nothing."""
    table = label_table()
    values = [[int(r)] if r.isdigit() else sorted(table.ids(r)) for r in regions]
    return tuple(str(v) for several in values for v in several)


def _machine(config: InferConfig) -> dict[str, Any]:
    names = ("device", "overlap", "tile_batch", "precision", "ram", "vram", "scratch")
    return {name: getattr(config, name) for name in names}


def _localiser(config: InferConfig, model: ModelFile, sources: ModelSources) -> Predictor | GuideFolder | None:
    """What says where a model's cases are cut: what the command names, else what the checkpoint says."""
    from fran.inference.ensemble import mode_of

    if config.localiser == NOBODY:
        return None
    if config.localiser is not None:
        return _named(config, config.localiser, sources)
    mode, trained = mode_of(model.meta), model.meta.get("config") or {}
    if mode == "rbd" or (mode == "pbd" and trained.get("localiser")):
        return _trained_with(config, model, trained, sources)
    if mode == "lbd":
        log.info(
            "%s was trained on crops around its labels and is applied to whole images; localiser=<run or folder of"
            " label maps> cuts them first",
            model.meta.get("run", model.path.parent.name),
        )
    return None


def _trained_with(
    config: InferConfig, model: ModelFile, trained: Mapping[str, Any], sources: ModelSources
) -> Predictor | GuideFolder:
    """The localiser of a checkpoint."""
    name = trained.get("localiser") or trained.get("imported_folder")
    run = model.meta.get("run", model.path.parent.name)
    ways = f"localiser=<run>, localiser=<folder of label maps of these images>, or localiser={NOBODY} for whole images"
    if not isinstance(name, str) or not trained.get("localiser"):
        made = f"label maps in {name}" if name else "label maps of its own"
        raise ConfigError(f"localiser: {run} was trained on crops around {made}; say what cuts these images: {ways}")
    try:
        return _named(config, name, sources)
    except StoreError as error:
        raise ConfigError(
            f"localiser: {run} was trained on crops around the predictions of '{name}', and there is no such run in "
            f"{sources.folders.checkpoints}; give it by its checkpoint or another one: {ways}"
        ) from error


def _named(config: InferConfig, name: str, sources: ModelSources) -> Predictor | GuideFolder:
    """A run as a predictor; a folder that holds no checkpoint as label maps."""
    from fran.inference.crops import GuideFolder
    from fran.inference.ensemble import mode_of
    from fran.inference.predictor import Predictor

    folder = Path(name).expanduser()
    if folder.is_dir() and not list(folder.glob("*.ckpt")) and not sources.is_bundle(folder):
        return GuideFolder.of(folder)
    models = sources.read(name, "localiser")
    if mode_of(models[0].meta) == "rbd":
        raise ConfigError(f"localiser: '{name}' needs a localiser itself; use a run of mode source or whole")
    return Predictor(models, **_machine(config))
