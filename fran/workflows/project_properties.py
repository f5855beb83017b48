"""`fran project properties`: what the training cases have in common, what to begin with, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError
from fran.projects.recommendation import PATCH_VOXELS
from fran.workflows.entry import Job, run_verb
from fran.workflows.machine_advice import CPU_PATCH_VOXELS, has_gpu
from fran.workflows.projects import existing_project
from fran.workflows.schema import ProjectPropertiesConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from fran.projects.project import Project

_SMALLEST_PATCH = 16**3
SMALL_PATCH = (
    "no CUDA device was found here: the patch is one that a CPU trains with; for a training on a GPU,"
    f" patch_voxels={PATCH_VOXELS}."
)


def project_properties(job: Job[ProjectPropertiesConfig]) -> None:
    """Bring the properties up to date and print them, or one JSON object."""
    config = job.config
    project = existing_project(config.paths, config.project)
    found = project.maybe_store_projectwide_properties()
    found = {**found, "recommendation": recommendation(project, found, config.patch_voxels)}
    if config.json:
        say_json(found)
        return
    say(f"project {project.title}: {found['n_cases']} training cases, {project.folders.global_properties}\n")
    _say_intensities(found)
    _say_shapes(found)
    _say_labels(found)
    begin = found["recommendation"]
    say("To begin with:")
    for reason in begin["reasons"]:
        say(f"  {reason}")
    overrides = " ".join(f"'{text}'" if "[" in text else text for text in begin["overrides"])
    say(f"\nnext: fran preprocess project={project.title} plan=plan1 {overrides}")


def recommendation(project: Project, found: Mapping[str, Any], patch_voxels: int | None = None) -> dict[str, Any]:
    """Spacing and patch to begin with, see `fran.projects.recommendation.recommend`.

    Args:
        project: with training cases.
        found: its stored properties, whose recommendation is one for a GPU.
        patch_voxels: most voxels of the patch; None is what a GPU takes, or a CPU where there is no GPU here.
    """
    if patch_voxels is None and has_gpu():
        return dict(found["recommendation"])
    if patch_voxels is not None:
        return _recommended(project, found["modality"], patch_voxels)
    small = _recommended(project, found["modality"], CPU_PATCH_VOXELS)
    return {**small, "reasons": [*small["reasons"], SMALL_PATCH]}


def _recommended(project: Project, modality: str, patch_voxels: int) -> dict[str, Any]:
    import numpy as np

    from fran.projects.recommendation import recommend

    if patch_voxels < _SMALLEST_PATCH:
        raise ConfigError(f"patch_voxels: expected at least {_SMALLEST_PATCH}, found {patch_voxels}")
    cases = project.training_cases()
    spacings = np.array([c.spacing_mm for c in cases], dtype=np.float64)
    return recommend(spacings, np.array([c.size for c in cases], dtype=np.float64), modality, patch_voxels)


def _say_intensities(found: dict[str, Any]) -> None:
    low, high = found["intensity_clip_range"]
    unit = "HU" if found["modality"] == "CT" else "raw units"
    error = found["clip_rank_error"]
    sampled = f"from {found['n_voxels_sampled']:,} of {found['n_voxels_fg']:,} voxels"
    exact = f"exact, {sampled}" if error == 0 else f"{sampled}, ranks good to {error:.3f} percent (standard error)"
    rows = [
        ("foreground mean", f"{found['mean_fg']:.2f}", "all labelled voxels"),
        ("foreground deviation", f"{found['std_fg']:.2f}", "all labelled voxels"),
        ("foreground range", f"{found['min_fg']:.6g} to {found['max_fg']:.6g}", "all labelled voxels"),
        ("intensity_clip_range", f"{low:.6g} to {high:.6g}", f"percentiles 0.5 and 99.5 of the foreground; {exact}"),
        ("mean after clipping", f"{found['mean_dataset_clipped']:.2f}", "all voxels of all images"),
        ("deviation after clipping", f"{found['std_dataset_clipped']:.2f}", "all voxels of all images"),
    ]
    show_table(f"Intensities ({', '.join(found['modalities'])}, {unit})", ("what", "value", "of"), rows)
    say("")


def _say_shapes(found: dict[str, Any]) -> None:
    places = {"0": "least", "10": "10 %", "50": "median", "90": "90 %", "100": "most"}
    rows = [
        (name, *(" x ".join(f"{v:.3g}" for v in found[f"{key}_percentiles"][p]) for key in ("spacing", "size")))
        for p, name in places.items()
    ]
    show_table("Grids (x, y, z; percentiles on each axis)", ("of the cases", "spacing, mm", "size, voxels"), rows)
    say("")


def _say_labels(found: dict[str, Any]) -> None:
    rows = [
        (value, name, found["label_cases"][value], f"{found['label_voxels'][value]:,}")
        for value, name in found["label_names"].items()
    ]
    show_table("Labels of the output", ("value", "name", "cases", "voxels"), rows)
    say("")


def main() -> None:
    """Entry of `fran project properties`."""
    run_verb("project_properties", ProjectPropertiesConfig, project_properties)
