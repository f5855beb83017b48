"""Composition errors in words: the key, its file, what was expected, and the nearest choices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fran.errors import choices
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.provenance import line_of


def explain(error: BaseException) -> str:
    """One message for an exception that Hydra or OmegaConf raised while composing."""
    chain = list(_causes(error))
    lines = [_first_line(error)]
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if inner is not None and inner is not error:
        lines.append(_first_line(inner))
    if isinstance(inner, ConfigAttributeError | ConfigKeyError):
        lines += _unknown_key(inner)
    elif inner is not None and inner.full_key:
        lines.append(f"key: {inner.full_key}")
    lines += _where(error, inner)
    missing = next((e for e in chain if isinstance(e, MissingConfigException)), None)
    if missing is not None and missing.missing_cfg_file:
        group, _, wanted = str(missing.missing_cfg_file).rpartition("/")
        lines.append(choices(wanted, [o for o in _options(group) if not o.startswith("_")]))
        if str(missing.missing_cfg_file).startswith("project/"):
            lines.append(f"a new project: fran init -t {wanted} -i <folder of images/ and lms/>")
    if isinstance(error, OverrideParseException):
        lines.append("quote lists for your shell: 'spacing=[0.8,0.8,1.5]'")
    return "\n  ".join(dict.fromkeys(lines))


def _where(error: BaseException, inner: OmegaConfBaseException | None) -> list[str]:
    """File and line of the key, when Hydra says in which configuration it met it."""
    named = re.match(r"In '([^']+)'", str(error))
    if named is None or inner is None:
        return []
    key = str(inner.full_key or inner.key or "")
    for folder in (*user_conf_dirs(), conf_dir()):
        file = folder / f"{named.group(1)}.yaml"
        if file.is_file():
            line = line_of(file, "", key) or line_of(file, "", key.rpartition(".")[2])
            return [f"in {file}:{line}" if line else f"in {file}"]
    return []


def _options(group: str) -> list[str]:
    """Names of the files of a configuration group on the search path."""
    folders = [folder / group for folder in (*user_conf_dirs(), conf_dir())]
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _unknown_key(error: OmegaConfBaseException) -> list[str]:
    """The nearest valid keys, when the schema at that place is known."""
    schema = error.object_type
    key = str(error.full_key or error.key or "").rpartition(".")[2]
    if not key:
        found = re.search(r"Key '([^']+)'", str(error))
        key = found.group(1) if found else ""
    if schema is None or not is_dataclass(schema):
        return []
    return [f"unknown key '{error.full_key or key}'; {choices(key, [f.name for f in fields(schema)])}"]
