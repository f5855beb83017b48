"""`fran model show`: one network's settings, where each is stated, and what it costs for a plan's patch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fran.workflows.entry import Job
from fran.workflows.model_costs import (
    GROUP,
    Sized,
    family_and_character,
    memory_of,
    n_classes_of,
    presets,
    run_model_verb,
    sized,
)
from fran.workflows.plan_show import text, where
from fran.workflows.plan_text import short_path
from fran.workflows.schema import ModelsConfig
from fran.workflows.terminal import say, say_json, show_table

if TYPE_CHECKING:
    from fran.networks.cost import NetworkCost

BATCHES = (1, 2, 4, 8)


def model_show(job: Job[ModelsConfig]) -> None:
    """Print the settings, then sizes and costs."""
    config, name = job.config, job.choices[GROUP]
    n_classes, origin = n_classes_of(job)
    found = sized(config.model, config.patch_size, config.spacing_mm, n_classes)
    if config.json:
        say_json(as_json(name, found, job))
        return
    file = presets()[name]
    rows = [
        [key, text(value), where(job.origin(f"{GROUP}.{key}")) if key in config.model else "from the data"]
        for key, value in found.spec.items()
    ]
    show_table(f"Network {name}: {': '.join(family_and_character(file))}", ("key", "value", "stated in"), rows)
    say(f"file: {short_path(file)}; {n_classes} classes: {origin}")
    if found.multiple:
        multiple, patch = (" x ".join(map(str, sides)) for sides in (found.multiple, config.patch_size))
        say(f"patch: multiples of {multiple}, here {patch}")
    if found.cost is None:
        say(f"{name} {found.problem}")
        return
    say_cost(found.cost, config)


def say_cost(cost: NetworkCost, config: ModelsConfig) -> None:
    """Print heads, parameters, operations and memory."""
    heads = ", ".join(" x ".join(map(str, head)) for head in cost.heads)
    one = "no deep supervision: one output, of the patch's size"
    say(f"outputs in training: {heads}" if len(cost.heads) > 1 else one)
    work = f"forward pass of a patch {cost.flops / 1e9:.0f} GFLOP, a step three times that"
    say(f"{cost.parameters / 1e6:.2f} M parameters; {work}")
    table = []
    for half in (False, True):
        need = memory_of(cost, config, half=half)
        sizes = [f"{(need.weights + batch * need.patch) / 1e9:.1f}" for batch in BATCHES]
        table.append(["16-bit" if half else "fp32", f"{need.weights / 1e9:.2f}", *sizes])
    columns = ("precision", "weights and optimiser", *(f"{batch} patch{'es' * (batch > 1)}" for batch in BATCHES))
    show_table("GB of a step, estimated, without what the convolution library and the driver take", columns, table)
    free = gpu()
    say(free or "no GPU here to compare with")


def gpu() -> str:
    """Name and memory of the current GPU; empty without one."""
    import torch

    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}: {free / 1e9:.1f} of {total / 1e9:.1f} GB free"


def as_json(name: str, found: Sized, job: Job[ModelsConfig]) -> dict[str, Any]:
    """The answer as plain data."""
    content: dict[str, Any] = {"model": name, "spec": found.spec, "multiple": found.multiple, "problem": found.problem}
    if found.cost is None:
        return content
    needs = {half: memory_of(found.cost, job.config, half=half) for half in (False, True)}
    memory = {("16bit" if half else "fp32"): vars(need) | {"total": need.total} for half, need in needs.items()}
    return content | {"cost": vars(found.cost), "memory": memory}


def main() -> None:
    """Entry of `fran model show`."""
    run_model_verb(model_show, (GROUP,))
