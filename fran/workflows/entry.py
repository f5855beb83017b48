"""From a command line to a typed configuration, and from an error to a sentence.

Exit statuses: 0 done, 1 a verb failed or left cases out, 2 the configuration cannot work, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fran.errors import ConfigError, FranError, SettingProblem, raise_for_settings
from fran.workflows.explain import explain
from fran.workflows.locations import conf_dir
from fran.workflows.provenance import where_set
from fran.workflows.schema import register

log = logging.getLogger("fran")

ConfigT = TypeVar("ConfigT")
Check = Callable[[ConfigT], Sequence[SettingProblem]]


@dataclass(frozen=True)
class Job(Generic[ConfigT]):
    """What a verb is given.

    Attributes:
        config: the typed configuration.
        plain: the same, resolved, as plain dicts and lists: what is stored with a run.
        choices: chosen option of each configuration group, such as ``{"model": "dynunet"}``.
        overrides: what the command line changed.
    """

    config: ConfigT
    plain: dict[str, Any]
    choices: dict[str, str]
    overrides: tuple[str, ...]


def run_verb(
    name: str,
    schema: type[ConfigT],
    task: Callable[[Job[ConfigT]], None],
    check: Check[ConfigT] = lambda config: (),
) -> None:
    """Compose the configuration `name` from ``sys.argv``, check it, and run `task` (once a job of a sweep).

    Does not return: it exits the process with one of the statuses above.

    Args:
        name: primary configuration, a file of conf/.
        schema: dataclass that the configuration must fit.
        task: the verb.
        check: finds values that cannot work, before any work is done.
    """
    register()
    # Hydra would cut tracebacks and messages in its own way; fran prints errors itself
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def job(composed: DictConfig) -> None:
        try:
            task(_job(composed, schema, check))
        except Exception as error:
            status = _report(error)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise _JobFailed(status) from error
            sys.exit(status)

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept, the same command goes on from there\n")
        sys.exit(130)
    except _JobFailed as failed:
        sys.exit(failed.status)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, RecursionError) as error:
        sys.stderr.write(f"error: {explain(error)}\n")
        sys.exit(2)
    sys.exit(0)


class _JobFailed(Exception):
    """A job of a sweep failed and has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


def _report(error: Exception) -> int:
    """Say in the job's log what went wrong; the exit status for it."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        log.error("%s", explain(error))
        return 2
    if isinstance(error, FranError):
        log.error("%s", error)
        log.debug("traceback", exc_info=error)
        return 2 if isinstance(error, ConfigError) else 1
    log.error("this is a bug in fran, or in something that was plugged into it", exc_info=error)
    return 1


def command(verb: str, overrides: Sequence[str]) -> str:
    """The command line of another verb for the same project and plan, quoted for a shell."""
    kept = [o for o in overrides if not o.startswith(("preprocess.", "hydra"))]
    return shlex.join(["fran", verb, *kept])


def recompose(job: Job[ConfigT], name: str, schema: type[ConfigT], overrides: Sequence[str]) -> Job[ConfigT]:
    """The job that `overrides`, then the job's own overrides, would have given: how a run is resumed."""
    composed = hydra.compose(config_name=name, overrides=[*overrides, *job.overrides], return_hydra_config=True)
    chosen = dict(composed.hydra.runtime.choices)
    plain, config = _typed(composed, schema)
    return Job(config, plain, chosen, (*overrides, *job.overrides))


def _job(composed: DictConfig, schema: type[ConfigT], check: Check[ConfigT]) -> Job[ConfigT]:
    plain, config = _typed(composed, schema)
    _raise_for(check(config))
    runtime = HydraConfig.get()
    return Job(config, plain, dict(runtime.runtime.choices), tuple(runtime.overrides.task))


def _typed(composed: DictConfig, schema: type[ConfigT]) -> tuple[dict[str, Any], ConfigT]:
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plain: dict[str, Any] = OmegaConf.to_container(own, resolve=True, enum_to_str=True)  # type: ignore[assignment]
    # `+key=value` slips past a composed schema; merging into a fresh one does not let it
    strict = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(plain))
    missing = OmegaConf.missing_keys(strict)
    if missing:
        raise ConfigError("\n".join(f"{key}: expected a value, found none; add {key}=…" for key in sorted(missing)))
    return plain, OmegaConf.to_object(strict)  # type: ignore[return-value]


def _raise_for(problems: Sequence[SettingProblem]) -> None:
    if not problems:
        return
    own: Any = HydraConfig.get()
    parts = OmegaConf.masked_copy(own, ["overrides", "runtime", "job"])
    runtime: dict[str, Any] = OmegaConf.to_container(parts, resolve=False)  # type: ignore[assignment]
    raise_for_settings([replace(problem, set_in=where_set(problem.key, runtime)) for problem in problems])
