"""Where a configuration value comes from: a command-line override, or a line of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def where_set(key: str, hydra: Mapping[str, Any]) -> str:
    """Origin of a dotted key, for an error message.

    Args:
        key: for instance ``"spacing"`` or ``"trainer.batch_size"``.
        hydra: Hydra's own configuration of the job, as a plain mapping.

    Returns:
        ``"command line: spacing=[1,1]"``, ``".../conf/plan/plan1.yaml:6"``, or ``"default"``.
    """
    for override in reversed([*hydra["overrides"]["task"]]):
        if override.lstrip("+~").split("=")[0].split("@")[0] == key:
            return f"command line: {override}"
    for file, package in _files(hydra):
        line = line_of(file, package, key)
        if line is not None:
            return f"{file}:{line}"
    return "default"


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
    """An option's file, then the files it inherits from within its group."""
    seen: set[str] = set()
    pending = [option]
    while pending:
        name = pending.pop(0)
        path = next((p for p in (folder / group / f"{name}.yaml" for folder in folders) if p.is_file()), None)
        if path is None or name in seen:
            continue
        seen.add(name)
        text = path.read_text(encoding="utf-8")
        yield path, "" if "@package _global_" in text.partition("\n")[0] else package
        parents = (yaml.safe_load(text) or {}).get("defaults", [])
        pending += [p.lstrip("/") for p in reversed(parents) if isinstance(p, str) and p != "_self_"]


def line_of(file: Path, package: str, key: str) -> int | None:
    """Line of a dotted `key` in a yaml file whose own keys land in `package`; None where it is not stated."""
    parts = key.split(".")
    prefix = package.split(".") if package else []
    if parts[: len(prefix)] != prefix:
        return None
    node = yaml.compose(file.read_text(encoding="utf-8"))
    line = None
    for part in parts[len(prefix) :]:
        if not isinstance(node, yaml.MappingNode):
            return None
        pair = next(((k, v) for k, v in node.value if k.value == part), None)
        if pair is None:
            return None
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
