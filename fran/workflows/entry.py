"""From a command line to a typed configuration, and from an error to a sentence.

Exit statuses: 0 done, 1 a verb failed or left cases out, 2 the configuration cannot work, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fran.errors import ConfigError, FranError
from fran.plans.checks import Problem
from fran.workflows.explain import explain
from fran.workflows.locations import conf_dir
from fran.workflows.provenance import where_set
from fran.workflows.schema import register

log = logging.getLogger("fran")

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Job(Generic[ConfigT]):
    """What a verb is given.

    Attributes:
        config: the typed configuration.
        plain: the same, resolved, as plain dicts and lists: what is stored with a run.
        folder: the job's own folder for logs.
    """

    config: ConfigT
    plain: dict[str, Any]
    folder: Path


def run_verb(
    name: str,
    schema: type[ConfigT],
    task: Callable[[Job[ConfigT]], None],
    check: Callable[[ConfigT], Sequence[Problem]] = lambda config: (),
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
    reported: list[BaseException] = []

    def job(composed: DictConfig) -> None:
        try:
            task(_job(composed, schema, check))
        except FranError as error:
            log.error("%s", error)
            reported.append(error)
            raise
        except Exception as error:
            log.exception("this is a bug in fran, or in a network or transform that was plugged in")
            reported.append(error)
            raise

    sys.exit(_status(name, job, reported))


def _status(name: str, job: Callable[[DictConfig], None], reported: Sequence[BaseException]) -> int:
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(job)()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept, the same command goes on from there\n")
        return 130
    except (HydraException, OmegaConfBaseException) as error:
        sys.stderr.write(f"error: {explain(error)}\n")
        return 2
    except FranError as error:
        if error not in reported:
            sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except Exception as error:
        if error in reported:
            return 1
        raise
    return 0


def _job(composed: DictConfig, schema: type[ConfigT], check: Callable[[ConfigT], Sequence[Problem]]) -> Job[ConfigT]:
    own = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
    plain: dict[str, Any] = OmegaConf.to_container(own, resolve=True, enum_to_str=True)  # type: ignore[assignment]
    # `+key=value` slips past a composed schema; merging into a fresh one does not let it
    strict = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(plain))
    missing = OmegaConf.missing_keys(strict)
    if missing:
        raise ConfigError("\n".join(f"{key}: expected a value, found none; add {key}=…" for key in sorted(missing)))
    config: ConfigT = OmegaConf.to_object(strict)  # type: ignore[assignment]
    runtime: dict[str, Any] = OmegaConf.to_container(HydraConfig.get(), resolve=True, throw_on_missing=False)  # type: ignore[assignment]
    _raise_for(check(config), runtime)
    return Job(config, plain, Path(runtime["runtime"]["output_dir"]))


def _raise_for(problems: Sequence[Problem], runtime: dict[str, Any]) -> None:
    if not problems:
        return
    blocks = [
        f"  {problem.key} = {problem.value}\n      expected {problem.expected}\n"
        f"      set in   {where_set(problem.key, runtime)}"
        for problem in problems
    ]
    count = f"{len(problems)} setting{'s' if len(problems) > 1 else ''}"
    raise ConfigError(f"{count} cannot work\n" + "\n".join(blocks))
