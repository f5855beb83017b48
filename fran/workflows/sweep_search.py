"""``fran train -m hydra/sweeper=ray_tune search=…``: trials drawn from a space, the next when there is room for one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fran.errors import ConfigError, choices, counted
from fran.tracking import sweeps
from fran.tracking.identity import settings_digest
from fran.tracking.sweeps import Sweep, Trial, history, write_trial
from fran.training.settings import parse_duration
from fran.tuning.domains import Choice, Domain, LogUniform, RandInt, Range, Uniform
from fran.tuning.draws import OptunaSampler, RandomSampler, Sampler
from fran.tuning.halving import Halving
from fran.tuning.settings import SearchSettings
from fran.tuning.space import Searched, Space
from fran.workflows.composition import search_folders
from fran.workflows.sweep_jobs import (
    Asked,
    Candidate,
    compose,
    job_overrides,
    key_of,
    override,
    project_of,
    why_refused,
)
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

GROUP = "space"
SHOWN_DRAWS = 5
MAX_IN_VAIN = 100
TIME_IS_UP = "the search's time is up"
log = logging.getLogger("fran.sweep")


def search(
    arguments: Sequence[str],
    context: HydraContext,
    task: TaskFunction,
    master: DictConfig,
    settings: SearchSettings,
) -> None:
    """Draw and train until the trials or the time are used up, those of an earlier command included.

    Args:
        arguments: overrides; those with several values, or a range, are searched too.
        context, task, master: what Hydra gives a sweeper.
        settings: of the search.

    Raises:
        ConfigError: no space, or one of which nothing can be composed; a cluster that cannot be used.
        SweepEnded: some trials failed, or a signal ended it.
    """
    settings.check()
    overrides = OverridesParser.create(config_loader=context.config_loader).parse_overrides(list(arguments))
    common = tuple(o.input_line or "" for o in overrides if not o.is_sweep_override())
    base = compose(common)
    space = space_of(base.config.search, [o for o in overrides if o.is_sweep_override()])
    if base.config.fold == "all" or base.config.trainer.val_every_n_epochs == 0:
        raise ConfigError("search: expected trainings that validate, found fold=all or trainer.val_every_n_epochs=0")
    # a sampler is part of what is asked, for its draws are; how many are wanted, and when they stop, is not
    differing = {**space.to_plain(), "": f"{settings.sampler}, seed {settings.seed}"}
    asked = Asked("search", common, differing, settings.metric, settings.mode)
    if base.config.dry_run:
        _say_draws(space, settings, common, open_sweep(asked, base, make=False))
        return
    sweep = open_sweep(asked, base)
    from fran.workflows.sweep_ray import Work, cluster, ray_settings
    from fran.workflows.sweep_tune import search_with_tune

    with running(sweep, master):
        progress = Search(sweep, common, space, settings, project_of(base).folders.checkpoints)
        with cluster(ray_settings(master)) as (ray, remote), stoppable(sweep) as stop:
            progress.stop, progress.parent = stop, parent_of(sweep, base)
            search_with_tune(ray, remote, Work.here(context, task, master), progress)
    if sweep.stopping and stop.number is None:
        log.warning("%s; the same command goes on", TIME_IS_UP)
    conclude(sweep, base, stop)
    if progress.refused_in_vain:
        raise ConfigError(
            f"search: {MAX_IN_VAIN} draws in a row cannot be trained; the last: {progress.refused_in_vain}"
        )


def settings_of(stated: Mapping[str, Any]) -> SearchSettings:
    """Settings from the configuration ``hydra.sweeper``.

    Raises:
        ConfigError: one that there is not.
    """
    known = [f.name for f in fields(SearchSettings)]
    for name in stated:
        if name not in known:
            raise ConfigError(f"hydra.sweeper.{name}: there is no such setting; {choices(name, known)}")
    return SearchSettings(**stated)


def space_of(named: str | None, swept: Sequence[Override]) -> Space:
    """The space of a file, with what the command line itself searches.

    Args:
        named: a path, or the name of a file of ``conf/space``.
        swept: overrides with several values or a range.

    Raises:
        ConfigError: neither, no such file, or a mistake in it.
    """
    entries = dict(_read_space(named).entries) if named is not None else {}
    for one in swept:
        entries[one.get_key_element()] = Searched(_domain_of(one))
    space = Space(entries)
    if not any(entry.tune for entry in entries.values()):
        raise ConfigError(
            "search: expected a space: search=<file of conf/space, or path>, or values and ranges such as "
            "model=dynunet,segresnet 'trainer.optimiser.lr=tag(log,interval(1e-4,1e-2))'"
        )
    return space


def _read_space(named: str) -> Space:
    found = [folder / GROUP / f"{named}.yaml" for folder in search_folders()]
    path = next((p for p in (Path(named).expanduser(), *found) if p.is_file()), None)
    if path is None:
        known = sorted({p.stem for folder in search_folders() for p in (folder / GROUP).glob("*.yaml")})
        expected = choices(named, known) if known else "there is no folder conf/space with any yet"
        raise ConfigError(f"search: expected the path of a space, or a file of conf/space, found '{named}'; {expected}")
    try:
        return Space.from_yaml(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _domain_of(one: Override) -> Domain:
    """A sweep of Hydra's command line as a domain."""
    value: Any = one.value()
    if isinstance(value, ChoiceSweep):
        return Choice(tuple(map(_plain, value.list)))
    if isinstance(value, RangeSweep):
        if value.start is None or value.stop is None:
            raise ConfigError(f"{one.input_line}: expected range(start, stop)")
        whole = all(isinstance(v, int) for v in (value.start, value.stop, value.step))
        if whole and value.step == 1:
            return RandInt(int(value.start), int(value.stop))
        return Range(value.start, value.stop - value.step, value.step)
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0.0), float(value.end or 0.0)
        return LogUniform(low, high) if "log" in value.tags else Uniform(low, high)
    raise ConfigError(f"{one.input_line}: expected values with commas between them, choice(…), range(…) or interval(…)")


def _plain(value: Any) -> Any:
    """A parsed value without Hydra's quotes."""
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return Override._convert_value(value)


@dataclass
class Search:
    """Which trial comes next, and what is learned from those that end.

    Attributes:
        sweep: that it is.
        common: overrides of every trial.
        space: drawn from.
        settings: of the search.
        checkpoints: folder of the project's runs.
        stop: whether a signal came.
        parent: the sweep's run in MLflow.
        refused_in_vain: why the last of very many draws could not be trained; empty while they can.
    """

    sweep: Sweep
    common: tuple[str, ...]
    space: Space
    settings: SearchSettings
    checkpoints: Path
    stop: Stop = field(default_factory=Stop)
    parent: str | None = None
    refused_in_vain: str = ""

    def __post_init__(self) -> None:
        largest = self.settings.mode == "max"
        self._sampler: Sampler = RandomSampler(self.space, self.settings.seed)
        if self.settings.sampler == "optuna":
            self._sampler = OptunaSampler(self.space, self.settings.seed, largest)
        asha = self.settings.scheduler == "asha"
        self._halving = Halving(self.settings.grace, self.settings.factor, largest) if asha else None
        self._preparation = Preparation(self.sweep)
        self._began = time.monotonic()
        self._in_preparation: _Prepared | None = None
        self._pending: list[Candidate] = []
        self._known: set[str] = set()
        self._drawn, self._counted, self._in_vain = 0, 0, 0
        self._take_up()

    def _take_up(self) -> None:
        """Learn from the trials of earlier commands, and put those that are not done first."""
        left_out = 0
        for trial in self.sweep.trials():
            self._drawn = max(self._drawn, int((trial.draw or {}).get("index", -1)) + 1)
            overrides = (*self.common, *trial.overrides)
            try:
                job = compose(overrides)
            except ConfigError:
                continue
            if key_of(job) != trial.key:  # configuration files were edited since
                left_out += 1
                continue
            self._known.add(trial.key)
            if trial.state == sweeps.REFUSED:
                self._tell(trial)
                continue
            self._counted += 1
            for epoch, value in self._reports(trial):
                self._judge(trial.number, epoch, value)
            if trial.done:
                self._tell(trial)
            else:
                self._pending.append(Candidate(trial, job, overrides))
        done = self._counted - len(self._pending)
        wanted = counted(self.settings.trials, "trial")
        log.info("%s: %d of %s done, %d to go on with", self.sweep.name, done, wanted, len(self._pending))
        if left_out:
            log.warning("%d trials of %s were of another configuration and do not count", left_out, self.sweep.name)

    def _reports(self, trial: Trial) -> list[tuple[int, float]]:
        from fran.training.callbacks import METRICS

        if trial.run is None:
            return []
        return [(e, v) for e, _, v in history(self.checkpoints / trial.run / METRICS, self.settings.metric)]

    @property
    def ended(self) -> bool:
        """Whether no trial will begin any more."""
        if self.settings.max_time is not None and not self.sweep.stopping:
            left = parse_duration(self.settings.max_time) - (time.monotonic() - self._began)
            if left <= 0:
                self.sweep.stop(TIME_IS_UP)
        if self.sweep.stopping or self.refused_in_vain:
            return True
        return not self._pending and self._in_preparation is None and self._counted >= self.settings.trials

    def next(self) -> tuple[int, list[str]] | None:
        """Number and overrides of the next trial; None while its data are being made, or where none will come."""
        if self.ended:
            return None
        if self._in_preparation is None:
            candidate = self._pending.pop(0) if self._pending else self._draw()
            if candidate is None:
                return None
            self._in_preparation = _Prepared(candidate, self._preparation)
        prepared = self._in_preparation
        if prepared.outcome is None:
            return None
        self._in_preparation = None
        candidate = prepared.candidate
        if prepared.outcome and prepared.refused:
            self._refuse(candidate.trial, prepared.outcome)
            return None
        if prepared.outcome:
            refuse(candidate.trial, prepared.outcome)
            return None
        self._in_vain = 0
        log.info("trial %d: %s", candidate.trial.number, " ".join(candidate.trial.overrides))
        return candidate.trial.number, job_overrides(self.sweep, candidate, self.parent)

    def _draw(self) -> Candidate | None:
        """A new trial; None where the draw is one that there is already, or that cannot be composed."""
        values, remembered = self._sampler.draw(self._drawn)
        draw = {"index": self._drawn, **(remembered or {})}
        self._drawn += 1
        own = overrides_of(values)
        try:
            job = compose((*self.common, *own))
        except ConfigError as error:
            self._counted += 1
            self._refuse(self.sweep.add(settings_digest({"overrides": own}), own, draw), str(error))
            return None
        key = key_of(job)
        if key in self._known:
            self._in_vain += 1
            if self._in_vain >= MAX_IN_VAIN:
                self.refused_in_vain = "the space has no other values than those that were tried"
            return None
        self._known.add(key)
        self._counted += 1
        return Candidate(self.sweep.add(key, own, draw), job, (*self.common, *own))

    def _refuse(self, trial: Trial, reason: str) -> None:
        """A draw that cannot be trained is a row, and does not use up the budget."""
        refuse(trial, reason, sweeps.REFUSED)
        self._counted -= 1
        self._in_vain += 1
        self._sampler.tell(trial.draw, None, early=False)
        if self._in_vain >= MAX_IN_VAIN:
            self.refused_in_vain = reason

    def _judge(self, number: int, epoch: int, value: float) -> str | None:
        return self._halving.judge(number, epoch, value) if self._halving is not None else None

    def report(self, number: int, epoch: int, value: float) -> None:
        """Take a trial's validation; a trial that is not good enough is asked to stop."""
        reason = self._judge(number, epoch, value)
        if reason is not None:
            sweeps.ask_to_stop(self.sweep.folder / str(number), reason)

    def end(self, number: int, failed: bool) -> None:
        """Take a trial that has ended; `failed` as its process says."""
        trial = next(t for t in self.sweep.trials() if t.number == number)
        if trial.state == sweeps.KILLED:
            write_trial(trial)
        elif trial.state == sweeps.WAITING and failed and self.stop.number is None:
            trial = trial.ended(sweeps.FAILED, "it could not begin; the logs of Ray say why")
            write_trial(trial)
        self._tell(trial)
        say_end(self.sweep, trial)

    def _tell(self, trial: Trial) -> None:
        if trial.state in (sweeps.INTERRUPTED, sweeps.WAITING, sweeps.RUNNING, sweeps.KILLED):
            return
        value = trial.value if trial.state in (sweeps.FINISHED, sweeps.STOPPED) else None
        self._sampler.tell(trial.draw, value, early=trial.state == sweeps.STOPPED)


class _Prepared:
    """A trial whose data are made in a thread, while others are trained."""

    def __init__(self, candidate: Candidate, preparation: Preparation) -> None:
        self.candidate = candidate
        self.outcome: str | None = None
        self.refused = False
        threading.Thread(target=self._work, args=(preparation,), daemon=True).start()

    def _work(self, preparation: Preparation) -> None:
        outcome = "preparing its data failed; this is a bug in fran"
        try:
            outcome = why_refused(self.candidate.job)
            self.refused = bool(outcome)
            outcome = outcome or preparation.prepare(self.candidate.job)
        finally:
            self.outcome = outcome


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """A draw as a command line would say it, its numbers with six digits.

    Example:
        >>> overrides_of({"trainer.optimiser.lr": 0.00123456789, "augmentation.flip_p": [1 / 3, 0]})
        ['trainer.optimiser.lr=0.00123457', 'augmentation.flip_p=[0.333333,0]']
    """
    return [override(key, _six_digits(value)) for key, value in values.items()]


def _six_digits(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_six_digits(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def first_draws(space: Space, settings: SearchSettings, common: Sequence[str]) -> list[tuple[list[str], str]]:
    """Overrides of the first random draws, and what keeps each from being trained; empty where nothing does.

    Args:
        space: drawn from.
        settings: of the search.
        common: overrides of every trial.
    """
    sampler = RandomSampler(space, settings.seed)
    draws = [overrides_of(sampler.draw(number)[0]) for number in range(min(SHOWN_DRAWS, settings.trials))]
    return [(own, _why_not((*common, *own))) for own in draws]


def _why_not(overrides: Sequence[str]) -> str:
    try:
        return why_refused(compose(overrides))
    except ConfigError as error:
        return str(error)


def _say_draws(space: Space, settings: SearchSettings, common: Sequence[str], sweep: Sweep) -> None:
    rows = [
        (number, f"no: {' '.join(reason.split())}" if reason else "yes", " ".join(own))
        for number, (own, reason) in enumerate(first_draws(space, settings, common))
    ]
    trials = sweep.trials() if sweep.folder.is_dir() else []
    done = f", {sum(t.done for t in trials)} of them done" if trials else ""
    show_table(
        f"{sweep.name}: {counted(settings.trials, 'trial')}{done}; the first draws",
        ("draw", "can be trained", "values"),
        rows,
    )
    unsearched = [key for key, entry in space.entries.items() if not entry.tune]
    if unsearched:
        say(f"not searched (tune: false): {', '.join(unsearched)}")
    say("nothing was done; leave --dry-run away to do it")
