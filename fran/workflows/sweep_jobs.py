"""Trainings of a sweep as a command states them: overrides, composed, and known by what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from fran.errors import ConfigError, raise_for_settings
from fran.projects.project import Project
from fran.tracking import sweeps
from fran.tracking.sweeps import Sweep, Trial, trial_key
from fran.workflows import train
from fran.workflows.entry import Job, compose_job, problems
from fran.workflows.projects import existing_project
from fran.workflows.schema import TrainConfig

#: Overrides that do not tell one sweep from another, as in `fran.tracking.sweeps.APART`.
PLACES = ("paths", *sweeps.APART)


@dataclass(frozen=True)
class Asked:
    """What a command asks of its trials.

    Attributes:
        kind: "grid" or "search".
        common: overrides of every trial.
        differing: what trials differ in: values, or domains.
        metric, mode: what they are compared by.
    """

    kind: str
    common: tuple[str, ...]
    differing: Mapping[str, Any]
    metric: str
    mode: str

    @property
    def what(self) -> dict[str, Any]:
        """The part that tells one sweep from another."""
        return {"overrides": sorted(without_places(self.common)), "differing": dict(self.differing)}


@dataclass(frozen=True)
class Candidate:
    """A trial that is to be trained.

    Attributes:
        trial: as it stands.
        job: its configuration.
        overrides: the whole of its task overrides.
    """

    trial: Trial
    job: Job[TrainConfig]
    overrides: tuple[str, ...]


def compose(overrides: Sequence[str]) -> Job[TrainConfig]:
    """The training that a command line would be."""
    return compose_job("train", TrainConfig, overrides)


def project_of(job: Job[TrainConfig]) -> Project:
    """The project of a training."""
    return existing_project(job.config.paths, job.config.project)


def key_of(job: Job[TrainConfig]) -> str:
    """See `fran.tracking.sweeps.trial_key`."""
    return trial_key(job.plain, job.choices["model"])


def why_refused(job: Job[TrainConfig]) -> str:
    """What cannot work about a trial, before any work; empty where it can begin."""
    try:
        raise_for_settings(problems(job, train.check))
    except ConfigError as error:
        return str(error)
    return ""


def check_swept(job: Job[TrainConfig]) -> None:
    """Refuse settings that cannot hold for several trainings.

    Raises:
        ConfigError: a run is named, or one document is wanted of them all.
    """
    if job.config.json:
        raise ConfigError("json: expected false in a sweep; fran sweep show --json answers for all of its trainings")
    for key in ("run", "resume"):
        if getattr(job.config, key):
            raise ConfigError(f"{key}: expected null in a sweep, which names its runs itself and goes on with them")


def job_overrides(sweep: Sweep, candidate: Candidate, parent: str | None) -> list[str]:
    """Overrides of the Hydra job of a trial: the task's own, the sweep's name and run, and where its folder is."""
    own = [o for o in candidate.overrides if not o.startswith(("sweep=", "search="))]
    own += [f"tracking.parent_run_id={parent}"] if parent and "fold" not in sweep.what["differing"] else []
    places = {"hydra.sweep.dir": str(sweep.folder), "hydra.sweep.subdir": str(candidate.trial.number)}
    return [*own, f"sweep={sweep.name}", *(override(key, value) for key, value in places.items())]


def override(key: str, value: Any) -> str:
    """``key=value`` in the words of Hydra's command line.

    Example:
        >>> override("lr", 1e-05), override("flip_p", [0.5, False, None]), override("notes", "it's 1")
        ('lr=1e-05', 'flip_p=[0.5,false,null]', "notes='it\\\\'s 1'")
    """
    return f"{key}={_word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_word(k)}:{_word(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_word, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", value).replace("'", "\\'") + "'"


def settings_of(trial: Trial) -> dict[str, Any]:
    """What sets a trial apart, by key."""
    parsed = OverridesParser.create().parse_overrides(list(trial.overrides))
    return {one.key_or_group: one.value() for one in parsed}


def without_places(overrides: Sequence[str]) -> list[str]:
    """Overrides that say what is trained, without those that say where, under which name, or how it is remembered."""
    return [o for o in overrides if re.split(r"[.@=/]", o.lstrip("+~"))[0] not in PLACES]
