"""`fran model ls`: the networks, and what each costs for a plan's patch."""

from __future__ import annotations

from typing import Any

from fran.errors import ConfigError
from fran.workflows.entry import Job
from fran.workflows.model_costs import (
    family_and_character,
    memory_of,
    n_classes_of,
    preset,
    presets,
    run_model_verb,
    sized,
)
from fran.workflows.schema import ModelsConfig
from fran.workflows.terminal import say, say_json, show_table

COLUMNS = ("model", "family", "parameters", "GFLOP", "GB fp32", "GB 16-bit", "patch steps", "what it is")


def model_ls(job: Job[ModelsConfig]) -> None:
    """Print one row a network."""
    config = job.config
    n_classes, _ = n_classes_of(job)
    entries = [entry(name, job, n_classes) for name in presets()]
    if config.json:
        say_json(entries)
        return
    patch, spacing = (" x ".join(f"{v:g}" for v in values) for values in (config.patch_size, config.spacing_mm))
    title = f"Networks for plan {job.choices['plan']}: patch {patch} at {spacing} mm, {n_classes} classes"
    show_table(title, COLUMNS, [cells(found) for found in entries])
    say(f"GFLOP: forward pass of one patch; GB: a step of trainer.batch_size={config.trainer.batch_size} patches,")
    say("estimated, without what the convolution library and the driver take")
    say(f"more: fran model show {job.choices['model']}; another patch: fran model ls patch_dim0=96 patch_dim1=96")


def entry(name: str, job: Job[ModelsConfig], n_classes: int) -> dict[str, Any]:
    """A network as plain data."""
    config, file = job.config, presets()[name]
    family, special = family_and_character(file)
    about: dict[str, Any] = {"model": name, "family": family, "special": special, "file": file}
    try:
        found = sized(preset(name, file, job), config.patch_size, config.spacing_mm, n_classes)
    except ConfigError as error:
        return {**about, "problem": str(error).partition("\n")[0]}
    about |= {"multiple": found.multiple, "problem": found.problem}
    if found.cost is None:
        return about
    return about | {
        "network": found.cost.network,
        "parameters": found.cost.parameters,
        "flops": found.cost.flops,
        "heads": [list(head) for head in found.cost.heads],
        "bytes_fp32": memory_of(found.cost, config, half=False).total,
        "bytes_16bit": memory_of(found.cost, config, half=True).total,
    }


def cells(found: dict[str, Any]) -> list[str]:
    """Cells of `COLUMNS`."""
    steps = " x ".join(map(str, found["multiple"])) if found.get("multiple") else ""
    if found["problem"]:
        return [found["model"], found["family"], "", "", "", "", steps, found["problem"]]
    sizes = [f"{found[key] / 1e9:.1f}" for key in ("bytes_fp32", "bytes_16bit")]
    figures = [f"{found['parameters'] / 1e6:.1f} M", f"{found['flops'] / 1e9:.0f}", *sizes]
    return [found["model"], found["family"], *figures, steps, found["special"]]


def main() -> None:
    """Entry of `fran model ls`."""
    run_model_verb(model_ls, ())
