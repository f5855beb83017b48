"""Plan files: what each states, whom it inherits from, and whether it keeps the form that plans have.

A plan file begins with ``# @package _global_``, states its own name, and lists its parents before ``_self_``. Values
are inherited key by key: what a child states replaces what its parents state, mappings included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fran.errors import ConfigError, SettingProblem, choices
from fran.plans.schema import Plan, nearest_key

HEADER = "# @package _global_"
GROUP = "plan"
PLAN_KEYS = tuple(f.name for f in fields(Plan))


@dataclass(frozen=True)
class PlanFile:
    """One file of conf/plan.

    Attributes:
        name: as the command line names it; of a file in a folder of its own, ``folder/name``.
        path: the file.
        first_line: of its text.
        values: its keys, without the defaults list.
        lines: line of each key, ``defaults`` included.
        defaults: entries of its defaults list with their lines; those that are no plain text are left as they are.
    """

    name: str
    path: Path
    first_line: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    defaults: Sequence[tuple[Any, int]]

    @property
    def parents(self) -> list[tuple[str, int]]:
        """Names of the plans it inherits from, the weakest first, with their lines."""
        plain = [(item, line) for item, line in self.defaults if isinstance(item, str) and item != "_self_"]
        return [(full_name(item), line) for item, line in plain]

    def at(self, line: int) -> str:
        """``file:line`` for a message."""
        return f"{self.path}:{line}"


@dataclass(frozen=True)
class Stated:
    """A value and the file and line that state it."""

    value: Any
    path: Path
    line: int


def full_name(reference: str) -> str:
    """Name of the plan that a defaults list or `source_plan` refers to; it counts from conf/plan, as Hydra does.

    Example:
        >>> full_name("/plan/liver/plan1"), full_name("liver/plan1")
        ('liver/plan1', 'liver/plan1')
    """
    return reference.removeprefix(f"/{GROUP}/")


def plan_names(folders: Iterable[Path]) -> list[str]:
    """Names of every plan in the configuration folders."""
    found = {
        file.relative_to(folder / GROUP).with_suffix("").as_posix()
        for folder in folders
        for file in (folder / GROUP).rglob("*.yaml")
    }
    return sorted(found)


def find_plan(name: str, folders: Iterable[Path]) -> PlanFile | None:
    """The plan's file in the first folder that has one."""
    for folder in folders:
        path = folder / GROUP / f"{name}.yaml"
        if path.is_file():
            return _read(name, path, path.stat().st_mtime_ns)
    return None


def get_plan(name: str, folders: Sequence[Path]) -> PlanFile:
    """As `find_plan`.

    Raises:
        ConfigError: no folder has it; lists the choices.
    """
    found = find_plan(name, folders)
    if found is None:
        raise ConfigError(f"plan: no plan '{name}'; {choices(name, plan_names(folders))}")
    return found


@lru_cache(maxsize=1024)
def _read(name: str, path: Path, mtime_ns: int) -> PlanFile:
    """Parse a file; `mtime_ns` makes a changed file another entry of the cache.

    Raises:
        yaml.YAMLError: the text is no yaml.
        ConfigError: it is no mapping.
    """
    text = path.read_text(encoding="utf-8")
    with path.open(encoding="utf-8") as stream:  # a stream has a name, which yaml's messages give
        node = yaml.compose(stream, Loader=yaml.SafeLoader)
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected keys and values, found {text.strip()[:40]!r}")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node is not None else {}
    content = _content(path, lines) if node is not None else {}
    listed = next((v for k, v in (node.value if node is not None else []) if k.value == "defaults"), None)
    marks = [item.start_mark.line + 1 for item in listed.value] if isinstance(listed, yaml.SequenceNode) else []
    defaults = content.pop("defaults", None) or []
    pairs = tuple(zip(defaults, marks, strict=True)) if marks else ()
    return PlanFile(name, path, text.partition("\n")[0].strip(), content, lines, pairs)


def _content(path: Path, lines: Mapping[str, int]) -> dict[str, Any]:
    """Keys and values as OmegaConf reads them, interpolations left alone."""
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except OmegaConfBaseException as error:
        line = lines.get(str(error.full_key or "").partition(".")[0].partition("[")[0], 1)
        raise ConfigError(
            f"{error.full_key}: expected a value or a reference ${{key}}, found {error}\n  in {path}:{line}"
        ) from error
    return dict(content)


def lineage(name: str, folders: Sequence[Path]) -> Iterator[PlanFile]:
    """The plan's files: its parents' (and theirs) before its own, so that the last one to state a key decides it.

    Raises:
        ConfigError: a plan does not exist, or is its own ancestor.
    """
    yield from _lineage(name, folders, ())


def _lineage(name: str, folders: Sequence[Path], above: tuple[str, ...]) -> Iterator[PlanFile]:
    if name in above:
        raise ConfigError(f"defaults: {' -> '.join([*above[above.index(name) :], name])} never ends")
    file = get_plan(name, folders)
    for parent, _ in file.parents:
        yield from _lineage(parent, folders, (*above, name))
    yield file


def stated(name: str, folders: Sequence[Path]) -> dict[str, Stated]:
    """Every plan key that the plan or one of its ancestors states, with the value and place that hold."""
    found: dict[str, Stated] = {}
    for file in lineage(name, folders):
        for key, value in file.values.items():
            found[key] = Stated(value, file.path, file.lines[key])
    return found


def lint(name: str, folders: Sequence[Path], other_keys: Iterable[str] = ()) -> list[SettingProblem]:
    """What is wrong with the form of a plan's file and of those it inherits from.

    Args:
        name: of the plan.
        folders: configuration folders, the strongest first.
        other_keys: keys besides a plan's own that may stand in a plan file, such as ``trainer``.
    """
    problems: list[SettingProblem] = []
    _walk(name, folders, (), set(), problems, {*PLAN_KEYS, *other_keys})
    return problems


def _walk(
    name: str,
    folders: Sequence[Path],
    above: tuple[tuple[str, str], ...],
    seen: set[str],
    problems: list[SettingProblem],
    known: set[str],
) -> None:
    """Depth first through the parents; `above` is the way here as (name, place of the reference to the next)."""
    file = find_plan(name, folders)
    if file is None or name in seen:
        return
    seen.add(name)
    problems += _form(file, known)
    for parent, line in file.parents:
        way = (*above, (name, file.at(line)))
        names = [step for step, _ in way]
        if parent in names:
            circle = " -> ".join([*names[names.index(parent) :], parent])
            expected = "parents that lead to an end; take one of these out of its defaults"
            problems.append(SettingProblem("defaults", circle, expected, file.at(line)))
        elif find_plan(parent, folders) is None:
            near = choices(parent, [n for n in plan_names(folders) if n != name])
            problems.append(SettingProblem("defaults", parent, f"a plan; {near}", file.at(line)))
        else:
            _walk(parent, folders, way, seen, problems, known)


def _form(file: PlanFile, known: set[str]) -> Iterator[SettingProblem]:
    stem = PurePosixPath(file.name).name
    if file.first_line != HEADER:
        expected = f"'{HEADER}' as the first line: a plan's keys stand at the root"
        yield SettingProblem("first line", file.first_line or "(empty)", expected, file.at(1))
    if file.values.get("plan_name") != stem:
        expected = f"{stem}, the file's name"
        yield SettingProblem(
            "plan_name", file.values.get("plan_name", "(none)"), expected, file.at(file.lines.get("plan_name", 1))
        )
    for key in file.values:
        if key not in known:
            yield SettingProblem(
                key, file.values[key], f"a key of a plan; {nearest_key(key)}", file.at(file.lines[key])
            )
    yield from _ancestry(file)


def _ancestry(file: PlanFile) -> Iterator[SettingProblem]:
    """The defaults list, and the source plan that must be in it."""
    items = [item for item, _ in file.defaults]
    if "defaults" in file.lines and (not items or items[-1] != "_self_"):
        expected = "_self_ as the last entry, so that what the file states is stronger than what it inherits"
        yield SettingProblem("defaults", items, expected, file.at(file.lines["defaults"]))
    source = file.values.get("source_plan")
    written = [item for item in items if isinstance(item, str) and item != "_self_"]
    if source is not None and source not in written:
        parents = f"one of the parents in defaults ({', '.join(written)})" if written else "a parent in defaults"
        expected = f"{parents}; write defaults: [{source}, _self_]"
        yield SettingProblem("source_plan", source, expected, file.at(file.lines["source_plan"]))
