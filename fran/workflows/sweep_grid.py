"""``fran train -m key=a,b``: a training for each combination of values, by any of Hydra's launchers."""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fran.errors import ConfigError, counted
from fran.tracking import sweeps
from fran.tracking.sweeps import Sweep, Trial, read_trial
from fran.workflows.sweep_jobs import Asked, Candidate, compose, job_overrides, key_of, why_refused
from fran.workflows.sweeps import (
    Preparation,
    Stop,
    conclude,
    open_sweep,
    parent_of,
    refuse,
    running,
    say_end,
    stoppable,
)
from fran.workflows.terminal import say, show_table

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

log = logging.getLogger("fran.sweep")

Combination = tuple[str, ...]


def grid(
    arguments: Sequence[str],
    context: HydraContext,
    task: TaskFunction,
    master: DictConfig,
    metric: str,
    mode: str,
) -> None:
    """Train the combinations that are not trained yet.

    Args:
        arguments: overrides, some with several values.
        context, task, master: what Hydra gives a sweeper: its loader, the job, the command's configuration.
        metric, mode: what trials are compared by.

    Raises:
        ConfigError: nothing of it can be composed, or the launcher cannot be used.
        SweepEnded: some trials failed, or a signal ended it.
    """
    overrides = OverridesParser.create(config_loader=context.config_loader).parse_overrides(list(arguments))
    axes = {o.get_key_element(): _values(o) for o in overrides if o.is_sweep_override()}
    common = tuple(o.input_line or "" for o in overrides if not o.is_sweep_override())
    combinations = list(itertools.product(*([f"{k}={v}" for v in values] for k, values in axes.items())))
    jobs = {own: compose([*common, *own]) for own in combinations}
    first = jobs[combinations[0]]
    asked = Asked("grid", common, axes, metric, mode)
    if first.config.dry_run:
        _say_plan(open_sweep(asked, first, make=False), {key_of(job): own for own, job in jobs.items()})
        return
    sweep = open_sweep(asked, first)
    with running(sweep, master):
        known = {trial.key: trial for trial in sweep.trials()}
        trials: dict[Combination, Trial] = {}
        for own, job in jobs.items():
            key = key_of(job)
            if key not in known:
                known[key] = sweep.add(key, own)
                trials[own] = known[key]
            elif known[key] not in trials.values():
                trials[own] = known[key]
        todo = [Candidate(trial, jobs[own], (*common, *own)) for own, trial in trials.items() if not trial.done]
        log.info("%s: %s, %d done", sweep.name, counted(len(trials), "trial"), len(trials) - len(todo))
        stop = Stop()
        if todo:
            with _launcher(sweep, context, task, master) as run, stoppable(sweep) as stop:
                ready = _ready(sweep, todo)
                parent = parent_of(sweep, first) if ready else None
                run({c.trial.number: job_overrides(sweep, c, parent) for c in ready}, stop)
    conclude(sweep, first, stop)


def _values(override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: expected values with commas between them, for a grid tries all; "
            "hydra/sweeper=ray_tune draws from ranges"
        )
    return list(override.sweep_string_iterator())


def _ready(sweep: Sweep, todo: Sequence[Candidate]) -> list[Candidate]:
    """Those that can begin, with everything preprocessed; the others are written down as failed."""
    preparation, ready = Preparation(sweep), []
    for candidate in todo:
        if sweep.stopping:
            break
        reason = why_refused(candidate.job) or preparation.prepare(candidate.job)
        if reason:
            refuse(candidate.trial, reason)
        else:
            ready.append(candidate)
    return ready


Run = Callable[[Mapping[int, list[str]], Stop], None]


@contextmanager
def _launcher(sweep: Sweep, context: HydraContext, task: TaskFunction, master: DictConfig) -> Iterator[Run]:
    """What runs the overrides of trials, by number, as Hydra jobs, by the launcher that the configuration chooses.

    How they ended is in their files.

    Raises:
        ConfigError: it cannot be used.
    """
    launcher: Any = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=master)
    if hasattr(launcher, "ray_cfg"):
        from fran.workflows.sweep_ray import Work, cluster, run_on_ray

        with cluster(launcher.ray_cfg) as (ray, remote):
            yield lambda jobs, stop: run_on_ray(ray, remote, Work.here(context, task, master), jobs, sweep, stop)
    elif type(launcher).__name__ == "BasicLauncher":
        yield lambda jobs, stop: _one_by_one(launcher, jobs, sweep, stop)
    else:
        yield lambda jobs, stop: launcher.launch(list(jobs.values()), initial_job_idx=0)


def _one_by_one(launcher: Launcher, jobs: Mapping[int, list[str]], sweep: Sweep, stop: Stop) -> None:
    """In this process, with what a job leaves behind in memory given back after it."""
    for number, overrides in jobs.items():
        if sweep.stopping:
            return
        log.info("trial %d: %s", number, " ".join(read_trial(sweep.folder / str(number)).overrides))
        returned: Any = launcher.launch([overrides], initial_job_idx=number)
        trial = read_trial(sweep.folder / str(number))
        say_end(sweep, trial)
        if trial.state == sweeps.INTERRUPTED and stop.number is None:
            stop.number = getattr(returned[0]._return_value, "status", 130) - 128
            return
        free_memory()


def free_memory() -> None:
    """Give back what the training before has left behind, most of all on a GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _say_plan(sweep: Sweep, wanted: Mapping[str, Combination]) -> None:
    known = {trial.key: trial for trial in sweep.trials()} if sweep.folder.is_dir() else {}
    rows = []
    for key, own in wanted.items():
        trial = known.get(key)
        todo = "train" if trial is None else "nothing" if trial.done else "go on" if trial.run else "try again"
        rows.append((trial.number if trial else "-", trial.state if trial else "new", todo, " ".join(own)))
    show_table(f"{sweep.name}: {counted(len(wanted), 'trial')}", ("trial", "state", "to do", "settings"), rows)
    say("nothing was done; leave --dry-run away to do it")
