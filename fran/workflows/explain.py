"""Composition errors in words: the key, its file, what was expected, and the nearest choices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fran.errors import choices
from fran.plans.schema import FORMER_KEYS, Plan, nearest_key
from fran.workflows.composition import search_folders
from fran.workflows.provenance import line_of
from fran.workflows.schema import SCHEMAS
from fran.workflows.verb_settings import near_keys, options, schema_keys

HELP = {
    **{"plans": "plan show", "models": "model show"},
    **{"import_nnunet": "import-nnunet", "export_nnunet": "export-nnunet"},
}
"""Verbs of primary configurations that are not called as these."""


def explain(error: BaseException, primary: str = "") -> str:
    """One message for an exception that Hydra, OmegaConf or the yaml parser raised while composing.

    Args:
        error: what was raised.
        primary: the primary configuration, whose verb lists the keys that there are.
    """
    if isinstance(error, yaml.YAMLError):
        return _not_yaml(error)
    if isinstance(error, RecursionError):
        return _cycle()
    chain = list(_causes(error))
    lines = [_first_line(error)]
    if lines[0] == "Could not override 'dry_run'.":
        verbs = " or ".join(f"fran {verb}" for verb in _dry_runs())
        return f"--dry-run: expected with {verbs} alone; leave it out here"
    ambiguous = re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", lines[0])
    if ambiguous:
        key, values = ambiguous.groups()
        return f"{key} = {values}: several values; a list is '{key}=[{values}]', one run a value is -m {key}={values}"
    inner = next((e for e in chain if isinstance(e, OmegaConfBaseException)), None)
    if inner is not None and inner is not error:
        lines.append(_first_line(inner))
    if isinstance(inner, ConfigAttributeError | ConfigKeyError):
        lines += _unknown_key(inner, f"fran help {HELP.get(primary, primary.replace('_', ' '))}" if primary else "")
    elif inner is not None and inner.full_key:
        lines.append(f"key: {inner.full_key}")
    lines += _where(error, inner)
    missing = next((e for e in chain if isinstance(e, MissingConfigException)), None)
    if missing is not None and missing.missing_cfg_file:
        group, _, wanted = str(missing.missing_cfg_file).rpartition("/")
        lines.append(choices(wanted, [o for o in _options(group) if not o.startswith("_")]))
        if str(missing.missing_cfg_file).startswith("project/"):
            lines.append(f"a new project: fran init -t {wanted} -i <folder of images/ and lms/>")
    lines += _slash(inner)
    if "is not a ListConfig" in str(inner):
        lines.append("expected a list: values in brackets, parted by commas")
    if isinstance(error, OverrideParseException) and "=" not in str(error.override):
        return f"'{error.override}': expected key=value, found a word by itself"
    if isinstance(error, OverrideParseException):
        lines.append("quote lists for your shell: 'spacing=[0.8,0.8,1.5]'")
    return "\n  ".join(dict.fromkeys(lines))


def _dry_runs() -> list[str]:
    """Verbs that can say what they would do."""
    return [name.removesuffix("_schema") for name, schema in SCHEMAS.items() if hasattr(schema, "dry_run")]


def _slash(inner: OmegaConfBaseException | None) -> list[str]:
    """How a file of a group within a group is chosen, where its name was given as the value of a key."""
    if inner is None:
        return []
    word = re.match(r"Invalid type assigned: str is not a subclass of .*\. value: ([\w-]+)$", _first_line(inner))
    group = str(inner.full_key or "").replace(".", "/")
    files = options(group) if word and group else []
    if not word or not files:
        return []
    if word.group(1) in files:
        return [f"a file is chosen with a slash: {group}={word.group(1)}"]
    return [f"a file is chosen with a slash, {group}=<file>: {choices(word.group(1), files)}"]


def _where(error: BaseException, inner: OmegaConfBaseException | None) -> list[str]:
    """File and line of the key, when Hydra says in which configuration it met it."""
    named = re.match(r"In '([^']+)'", str(error))
    if named is None or inner is None:
        return []
    key = str(inner.full_key or inner.key or "")
    for folder in search_folders():
        file = folder / f"{named.group(1)}.yaml"
        if file.is_file():
            line = line_of(file, "", key) or line_of(file, "", key.rpartition(".")[2])
            return [f"in {file}:{line}" if line else f"in {file}"]
    return []


def _options(group: str) -> list[str]:
    """Names of the files of a configuration group on the search path."""
    folders = [folder / group for folder in search_folders()]
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return re.sub(r"\w+ raised while composing config:", "cannot be used", text[0]) if text else type(error).__name__


def _not_yaml(error: yaml.YAMLError) -> str:
    """Place and kind of a mistake in the yaml itself."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"expected yaml, found {error}"
    mark = error.problem_mark
    while_doing = f" {error.context}" if error.context else ""
    return f"expected yaml, found a mistake{while_doing}: {error.problem}\n  in {mark.name}:{mark.line + 1}"


def _cycle() -> str:
    """The circle in which files name each other as parents; circles of plans were refused before."""
    groups = {file.parent for folder in search_folders() for file in folder.rglob("*.yaml")}
    for group in sorted(groups):
        parents = {file.stem: _parents(file) for file in group.glob("*.yaml")}
        for name in sorted(parents):
            circle = _way_back(name, name, parents, [])
            if circle:
                return (
                    f"defaults: {' -> '.join([name, *circle])} never ends; take one of these parents out\n  in {group}"
                )
    return "defaults: files name each other as parents without end"


def _parents(file: Path) -> list[str]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return []
    defaults = content.get("defaults", []) if isinstance(content, dict) else []
    return [item for item in defaults or [] if isinstance(item, str) and item != "_self_"]


def _way_back(start: str, name: str, parents: dict[str, list[str]], seen: list[str]) -> list[str]:
    """Names from a parent of `name` to `start`; empty when no way leads there."""
    for parent in parents.get(name, []):
        if parent == start:
            return [parent]
        if parent not in seen:
            seen.append(parent)
            rest = _way_back(start, parent, parents, seen)
            if rest:
                return [parent, *rest]
    return []


def _unknown_key(error: OmegaConfBaseException, whole_list: str) -> list[str]:
    """The nearest valid keys, when the schema at that place is known."""
    schema = error.object_type
    key = str(error.full_key or error.key or "").rpartition(".")[2]
    if not key:
        found = re.search(r"Key '([^']+)'", str(error))
        key = found.group(1) if found else ""
    if schema is None or not is_dataclass(schema):
        parent = error.parent_node
        known = [str(k) for k in parent] if isinstance(parent, DictConfig) and not parent._is_missing() else []
        return [f"unknown key '{error.full_key or key}'; {choices(key, known)}"] if known else []
    if key in FORMER_KEYS and issubclass(schema, Plan):
        near = nearest_key(key)
    else:
        inside = str(error.full_key or "").rpartition(".")[0]
        meanings = {item.name: item.meaning for item in schema_keys(schema, f"{inside}." if inside else "")}
        known = [
            *meanings,
            *(["preset"] if "trainer.seed" in meanings else []),
        ]  # a group that leaves no key of its name
        near = near_keys(key, known, f"{whole_list} {inside}".rstrip() if whole_list else "", meanings)
    return [f"unknown key '{error.full_key or key}'; {near}"]
