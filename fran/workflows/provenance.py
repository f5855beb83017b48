"""Where a configuration value comes from: a command-line override, or a line of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


@dataclass(frozen=True)
class Origin:
    """Where a value is stated: in `override`, or at `path` and `line`, or nowhere, which means the schema's default."""

    override: str | None = None
    path: Path | None = None
    line: int = 0

    def __str__(self) -> str:
        if self.override is not None:
            return f"command line: {self.override}"
        return f"{self.path}:{self.line}" if self.path else "default"


def origin(key: str, hydra: Mapping[str, Any]) -> Origin:
    """The strongest statement of a dotted key.

    Args:
        key: for instance ``"spacing"`` or ``"trainer.batch_size"``.
        hydra: Hydra's own configuration of the job, as a plain mapping.
    """
    for override in reversed([*hydra["overrides"]["task"]]):
        if override.lstrip("+~").split("=")[0].split("@")[0] == key:
            return Origin(override=override)
    for file, package in _files(hydra):
        line = line_of(file, package, key)
        if line is not None:
            return Origin(path=file, line=line)
    return Origin()


def where_set(key: str, hydra: Mapping[str, Any]) -> str:
    """`origin` as text: ``"command line: spacing=[1,1]"``, ``".../conf/plan/plan1.yaml:6"``, or ``"default"``."""
    return str(origin(key, hydra))


def _files(hydra: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Configuration files of a job, the strongest first, with the package their keys land in."""
    folders = [Path(source["path"]) for source in hydra["runtime"]["config_sources"] if source["schema"] == "file"]
    choices = {name: option for name, option in hydra["runtime"]["choices"].items() if isinstance(option, str)}
    strongest = {"project/train": 0, "preset": 1}  # conf/train.yaml lists them after the groups they change
    for name in sorted(choices, key=lambda n: strongest.get(n, 2)):
        group, _, package = name.partition("@")
        if not group.startswith("hydra"):
            yield from _chain(folders, group, choices[name], package or group.replace("/", "."))
    yield from _chain(folders, "", str(hydra["job"]["config_name"]), "")


def _chain(folders: list[Path], group: str, option: str, package: str) -> Iterator[tuple[Path, str]]:
    """An option's file, then the files it inherits from within its group, the strongest first."""
    seen: set[str] = set()
    pending = [option]
    while pending:
        name = pending.pop(0)
        path = next((p for p in (folder / group / f"{name}.yaml" for folder in folders) if p.is_file()), None)
        if path is None or name in seen:
            continue
        seen.add(name)
        header, node = _parsed(path, path.stat().st_mtime_ns)
        yield path, "" if "@package _global_" in header else package
        parents = [p for p in reversed(_texts(_child(node, "defaults"))) if p != "_self_"]
        beside = PurePosixPath(name).parent
        pending = [str(p.lstrip("/") if p.startswith("/") else beside / p) for p in parents] + pending


@lru_cache(maxsize=1024)
def _parsed(path: Path, mtime_ns: int) -> tuple[str, yaml.Node | None]:
    """First line and content of a file; `mtime_ns` makes a changed file another entry of the cache."""
    text = path.read_text(encoding="utf-8")
    return text.partition("\n")[0], yaml.compose(text, Loader=yaml.SafeLoader)


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((v for k, v in node.value if k.value == key), None)


def _texts(node: yaml.Node | None) -> list[str]:
    if not isinstance(node, yaml.SequenceNode):
        return []
    return [str(item.value) for item in node.value if isinstance(item, yaml.ScalarNode)]


def line_of(file: Path, package: str, key: str) -> int | None:
    """Line of a dotted `key` in a yaml file whose own keys land in `package`; None where it is not stated."""
    parts = key.split(".")
    prefix = package.split(".") if package else []
    if parts[: len(prefix)] != prefix:
        return None
    _, node = _parsed(file, file.stat().st_mtime_ns)
    line = None
    for part in parts[len(prefix) :]:
        if not isinstance(node, yaml.MappingNode):
            return None
        pair = next(((k, v) for k, v in node.value if k.value == part), None)
        if pair is None:
            return None
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
