"""Networks as configured, sized for a plan's patch: what `fran model ls`, `fran model show` and `--dry-run` say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from fran.errors import ConfigError
from fran.plans.chain import data_stages
from fran.workflows.composition import composed, search_folders
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.label_flow import label_flow
from fran.workflows.plan_verbs import named, project_of
from fran.workflows.plans import plan_chain
from fran.workflows.schema import ModelsConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fran.networks.cost import NetworkCost
    from fran.training.memory import StepMemory

Vox = tuple[int, int, int]
GROUP = "model"


@dataclass(frozen=True)
class Sized:
    """A network for a patch.

    Attributes:
        spec: complete specification.
        multiple: voxels of which the patch must be a multiple, None where only a trial can tell.
        cost: None where the network cannot take the patch.
        problem: why, in words.
    """

    spec: dict[str, Any]
    multiple: Vox | None = None
    cost: NetworkCost | None = None
    problem: str = ""


def run_model_verb(task: Callable[[Job[ModelsConfig]], None], positional: Sequence[str]) -> None:
    """Run a verb whose first words without ``=`` are values of `positional`. It looks and checks nothing."""
    put_in_words(lambda words: named(words, positional))
    run_verb("models", ModelsConfig, task, look_only=True)


def sized(model: Mapping[str, Any], patch_size: Vox, spacing_mm: tuple[float, float, float], n_classes: int) -> Sized:
    """A network of the configuration with its cost, or with what is wrong."""
    from fran.networks.build import fill_spec, nearest_patch_sizes, stride_multiple
    from fran.networks.cost import network_cost

    spec = dict(model)
    try:
        spec = fill_spec(model, 1, n_classes, patch_size, spacing_mm)
        multiple = stride_multiple(spec, patch_size)
        nearest = nearest_patch_sizes(spec, patch_size)
        if nearest is not None:
            sizes = " or ".join(f"patch_dim0={x} patch_dim1={z}" for x, y, z in nearest if x == y)
            return Sized(spec, multiple, problem=f"does not take this patch; nearest: {sizes or 'multiples of 32'}")
        return Sized(spec, multiple, network_cost(spec, patch_size))
    except ConfigError as error:
        return Sized(spec, problem=str(error))
    except (RuntimeError, ValueError) as error:
        return Sized(spec, problem=f"cannot be sized: {str(error).partition(chr(10))[0]}")


def memory_of(cost: NetworkCost, config: ModelsConfig, *, half: bool) -> StepMemory:
    """Memory of a training step under the settings of the configuration."""
    from fran.training.memory import memory_of_training

    return memory_of_training(cost, config.trainer, half=half)


def n_classes_of(job: Job[ModelsConfig]) -> tuple[int, str]:
    """Channels of the output for the plan in its project, and where the number comes from."""
    project = project_of(job.config)
    if project is None or not len(project):
        return 2, "one label, for the project has not been made"
    flow = label_flow(project, job.config, data_stages(plan_chain(job)))
    return flow.scheme.n_classes, f"the labels of project {project.title}"


def presets() -> dict[str, Path]:
    """Networks on the search path by name, the stronger folder's file where two have one."""
    folders = reversed(search_folders())
    found = {file.stem: file for folder in folders for file in sorted((folder / GROUP).glob("*.yaml"))}
    return dict(sorted(found.items()))


def preset(name: str, file: Path, job: Job[ModelsConfig]) -> dict[str, Any]:
    """A network's settings, with what something stronger than the files of networks says of settings that it has."""
    settings: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if "defaults" in settings:
        settings = OmegaConf.to_container(composed(f"{GROUP}/{name}", [])[GROUP], resolve=True)
    return {**settings, **{key: value for key, value in _from_elsewhere(job).items() if key in settings}}


def _from_elsewhere(job: Job[ModelsConfig]) -> dict[str, Any]:
    """Settings of the network that the command line, a preset, a plan or a project states."""
    model: dict[str, Any] = job.plain[GROUP]
    places = {key: job.origin(f"{GROUP}.{key}").path for key in model}
    return {key: model[key] for key, place in places.items() if place is None or place.parent.name != GROUP}


def family_and_character(file: Path) -> tuple[str, str]:
    """What a network's file says of it in its first line: ``# family: what is special``."""
    lines = file.read_text(encoding="utf-8").splitlines()
    first = lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""
    family, colon, special = first.partition(": ")
    return (family, special) if colon else ("", first)
