"""From a command line to a typed configuration, and from an error to a sentence.

Exit statuses: 0 done, 1 a verb failed or left cases out, 2 the configuration cannot work, 130 interrupted; a training
that a signal ended has 128 and the signal's number (143 SIGTERM, 138 SIGUSR1, 130 Ctrl-C).
"""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fran.errors import ConfigError, FranError, SettingProblem, is_ctrl_c, raise_for_settings
from fran.plans.schema import Plan
from fran.workflows.composition import composed
from fran.workflows.dry_run import traceless
from fran.workflows.explain import explain
from fran.workflows.legacy import hint
from fran.workflows.locations import conf_dir, prefer_config_dir
from fran.workflows.plans import plan_problems
from fran.workflows.provenance import Origin, origin
from fran.workflows.schema import register
from fran.workflows.terminal import fitted, flags_last, reader_gone, spoken

log = logging.getLogger("fran")

_COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError, RecursionError)

GO_ON = (
    *("init", "check", "preprocess", "train", "cv", "infer", "postprocess", "demo"),
    *("hpc_pull", "mlflow_merge", "import_nnunet"),
)
"""Configurations of verbs that an interruption costs no more than what was in their hands."""

INTERRUPTED = 128 + signal.SIGINT
BEGIN_ANEW = ("export", "export_nnunet", "report")
"""Configurations of verbs that answer as JSON too and yet do work, of which an interruption leaves nothing."""

SERVERS = ("ui",)
"""Configurations of verbs that serve until Ctrl-C."""

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
        runtime: Hydra's own account of the composition: overrides, search path, chosen options.
    """

    config: ConfigT
    plain: dict[str, Any]
    choices: dict[str, str]
    overrides: tuple[str, ...]
    runtime: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def origin(self, key: str) -> Origin:
        """Where the value of a dotted key is stated."""
        return origin(key, self.runtime)


def put_in_words(translate: Callable[[Sequence[str]], list[str]]) -> None:
    """Give ``sys.argv`` the overrides that a verb's own way of typing stands for; see `run_verb` for the rest.

    What cannot be translated is said, and ends the process with status 2.
    """
    try:
        sys.argv[1:] = translate(sys.argv[1:])
    except FranError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def run_verb(
    name: str,
    schema: type[ConfigT],
    task: Callable[[Job[ConfigT]], object],
    check: Check[ConfigT] = lambda config: (),
    look_only: bool = False,
    later: Callable[[ConfigT], bool] = lambda config: False,
) -> None:
    """Compose the configuration `name` from ``sys.argv``, check it, and run `task` (once a job of a sweep).

    Does not return: it exits the process with one of the statuses above.

    Args:
        name: primary configuration, a file of conf/.
        schema: dataclass that the configuration must fit.
        task: the verb.
        check: finds values that cannot work, before any work is done.
        look_only: run `task` on values that cannot work too; it looks at them and does no work.
        later: whether the task checks the values itself, because a stored configuration goes below those typed.
    """
    register()
    prefer_config_dir(sys.argv[1:])
    # Hydra would cut tracebacks and messages in its own way; fran prints errors itself
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def run(config: DictConfig) -> None:
        register()  # a launcher may have brought this function to another process
        try:
            job = _job(config, HydraConfig.get(), schema)  # type: ignore[arg-type]
            if not look_only and not later(job.config):
                raise_for_settings(problems(job, check))
            task(job)
        except Exception as error:
            if is_ctrl_c(error):
                raise KeyboardInterrupt from error
            if isinstance(error, BrokenPipeError):
                raise
            status = _report(error, name)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise _JobFailed(status) from error
            sys.exit(status)

    try:
        if old := hint(name, sys.argv[1:]):  # `fran` asks before; the scripts do not
            raise ConfigError(old)
        with traceless(spoken(sys.argv[1:])) as given:
            sys.argv[1:] = flags_last(given)
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(run)()
        status = 0
    except BaseException as error:  # noqa: BLE001  (what is not known here is raised again)
        status = _ended(error, name, _left_behind(name, schema))
    # what is done is done: Ctrl-C while the interpreter takes itself apart changes nothing
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _ended(error: BaseException, name: str, left_behind: str) -> int:
    """Exit status for what ended a verb, said where nobody has said it."""
    if isinstance(error, BrokenPipeError) and reader_gone():
        return 0
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if is_ctrl_c(error):
        sys.stderr.write(f"interrupted{left_behind}\n")
        return INTERRUPTED
    if isinstance(error, _JobFailed):
        return error.status
    if isinstance(error, FranError):
        sys.stderr.write(fitted(f"error: {error}\n", sys.stderr))
        return error.status
    if isinstance(error, _COMPOSING):
        sys.stderr.write(fitted(f"error: {explain(error, name)}\n", sys.stderr))
        return 2
    raise error


def _left_behind(name: str, schema: type) -> str:
    """What an interruption leaves of a verb's work; nothing to say of one that answers a question."""
    if name in GO_ON:
        return "; what was finished is kept, the same command goes on from there"
    if name in SERVERS:
        return "; the server has ended"
    looks = hasattr(schema, "json") and name not in BEGIN_ANEW
    return "" if looks else "; nothing half done is left, the same command begins anew"


class _JobFailed(Exception):
    """A job of a sweep failed and has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


def _report(error: Exception, name: str) -> int:
    """Say in the job's log what went wrong; the exit status for it."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        log.error("%s", explain(error, name))
        return 2
    if isinstance(error, FranError):
        log.error("%s", error)
        log.debug("traceback", exc_info=error)
        return error.status
    log.error("this is a bug in fran, or in something that was plugged into it", exc_info=error)
    return 1


def command(verb: str, overrides: Sequence[str]) -> str:
    """The command line of another verb for the same project and plan, quoted for a shell."""
    kept = [o for o in overrides if not o.startswith(("preprocess.", "hydra", "dry_run", "json="))]
    return shlex.join(["fran", verb, *kept])


def compose_job(name: str, schema: type[ConfigT], overrides: Sequence[str] = ()) -> Job[ConfigT]:
    """What a command would be given, without running it. Checks nothing but types; see `problems`.

    Raises:
        ConfigError: the configuration cannot be composed, in the words that the command would print.
    """
    register()
    try:
        config = composed(name, overrides)
        return _job(config, config.hydra, schema)
    except _COMPOSING as error:
        raise ConfigError(explain(error, name)) from error


def refusal(
    name: str, schema: type[ConfigT], check: Check[ConfigT] = lambda config: (), overrides: Sequence[str] = ()
) -> str:
    """What a command would say about a configuration that cannot work; empty where it would begin its work."""
    try:
        raise_for_settings(problems(compose_job(name, schema, overrides), check))
    except ConfigError as error:
        return str(error)
    return ""


def recompose(job: Job[ConfigT], name: str, schema: type[ConfigT], overrides: Sequence[str]) -> Job[ConfigT]:
    """The job that `overrides`, then the job's own overrides, would have given: how a run is resumed."""
    again = compose_job(name, schema, [*overrides, *job.overrides])
    return replace(again, overrides=(*overrides, *job.overrides))


def problems(job: Job[ConfigT], check: Check[ConfigT] = lambda config: ()) -> list[SettingProblem]:
    """Everything that cannot work about a job, each once, with the place that states it."""
    try:
        found = [*plan_problems(job)] if isinstance(job.config, Plan) else []
    except _COMPOSING as error:
        raise ConfigError(explain(error)) from error
    found += check(job.config)
    once = {(p.key, str(p.value), p.expected): p for p in found}
    return [replace(p, set_in=p.set_in or str(job.origin(p.key))) for p in once.values()]


def _job(config: DictConfig, hydra_config: DictConfig, schema: type[ConfigT]) -> Job[ConfigT]:
    plain, typed = _typed(config, schema)
    parts = OmegaConf.masked_copy(hydra_config, ["overrides", "runtime", "job"])
    runtime: dict[str, Any] = OmegaConf.to_container(parts, resolve=False)  # type: ignore[assignment]
    return Job(typed, plain, dict(runtime["runtime"]["choices"]), tuple(runtime["overrides"]["task"]), runtime)


def _typed(composed: DictConfig, schema: type[ConfigT]) -> tuple[dict[str, Any], ConfigT]:
    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plain: dict[str, Any] = OmegaConf.to_container(own, resolve=True, enum_to_str=True)  # type: ignore[assignment]
    # `+key=value` slips past a composed schema; merging into a fresh one does not let it
    strict = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(plain))
    missing = OmegaConf.missing_keys(strict)
    if missing:
        raise ConfigError("\n".join(f"{key}: expected a value, found none; add {key}=…" for key in sorted(missing)))
    return plain, OmegaConf.to_object(strict)  # type: ignore[return-value]
