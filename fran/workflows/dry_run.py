"""``--dry-run``: what a verb would do, said without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fran.errors import counted
from fran.workflows.plan_status import StageState, stage_states
from fran.workflows.plan_text import STAGE_COLUMNS, say_folders, short_path, stage_row
from fran.workflows.plans import plan_chain
from fran.workflows.terminal import say, show_table

if TYPE_CHECKING:
    from fran.projects.project import Project
    from fran.projects.splits import Split
    from fran.training.spec import TrainSpec
    from fran.workflows.entry import Job

FLAG, KEY = "--dry-run", "dry_run=true"


@contextmanager
def traceless(arguments: Sequence[str]) -> Iterator[list[str]]:
    """The command line of a dry run, for which no log is kept; any other as it is.

    Hydra makes its folders before a verb begins, so they go to a place that is removed afterwards.
    """
    given = [KEY if argument == FLAG else argument for argument in arguments]
    if KEY not in given:
        yield given
        return
    with TemporaryDirectory(prefix="fran-dry-run-") as folder:
        nowhere = [f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", "hydra.output_subdir=null"]
        first = next((i for i, a in enumerate(given) if "=" in a and not a.startswith("-")), len(given))
        yield [*given[:first], "hydra/job_logging=fran_console", *nowhere, *given[first:]]


def say_stages(job: Job[Any], project: Project) -> list[StageState]:
    """Print the stages of a job's plan with what is there and what would be made."""
    states = stage_states(plan_chain(job), project, job.config.preprocess.num_processes)
    show_table(f"Stages of plan {job.choices['plan']}", STAGE_COLUMNS, [stage_row(state) for state in states])
    say_folders(states)
    if not any(state.todo for state in states):
        say(
            "to make: nothing, every case file is there"
            + (" or will be linked" if any(s.linkable for s in states) else "")
        )
    return states


def say_training(spec: TrainSpec, split: Split, run_name: str) -> None:
    """Print the training that would follow."""
    from fran.networks.cost import network_cost
    from fran.training.hardware import resolve_accelerator, resolve_precision
    from fran.training.memory import gib, memory_of_training
    from fran.training.parts import complete_network
    from fran.training.progress import clock

    filled = complete_network(spec)
    cost = network_cost(filled, spec.patch_size, spec.trusted)
    settings, most = spec.trainer, spec.trainer.max_time_s
    limit = f", at most {clock(most)} with all validations" if most is not None else ""
    say(f"run {run_name}: {len(split.train)} cases to train, {len(spec.data.val_ids)} to validate (fold {spec.fold})")
    figures = f"{cost.parameters / 1e6:.1f} M parameters, patch {list(spec.patch_size)}"
    say(f"network: {filled['_target_']}, {figures}, {cost.flops / 1e9:.0f} GFLOP forward")
    say(f"classes: {', '.join(spec.data.labels.channel_names[1:])}")
    say(f"optimiser: {settings.optimiser.describe()}; loss: {settings.loss.describe()}")
    device = resolve_accelerator(settings.accelerator)
    steps = f"{counted(settings.max_epochs, 'epoch')} of {counted(settings.steps_per_epoch, 'step')}"
    patches = "1 patch" if settings.batch_size == 1 else f"{settings.batch_size} patches"
    say(f"training: {steps}, {patches} each{limit}, on {device}")
    precision = resolve_precision(settings.precision, device)
    need = memory_of_training(cost, settings, half="16" in precision)
    parts = f"{gib(need.weights)} for weights and optimiser, {gib(need.patch)} for each patch"
    say(f"memory: about {gib(need.total)} GiB a step in {precision}, estimated: {parts}")
    say(f"folder: {short_path(spec.run_folder)}")
    say("nothing was done; leave --dry-run away to do it")
