"""Plan files that the tests of this folder write."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_plan(home: Path, name: str, *parents: str, **keys: object) -> Path:
    """``conf/plan/<name>.yaml`` in fran's home, inheriting from `parents`."""
    path = home / "conf" / "plan" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, object] = {"defaults": [*parents, "_self_"]} if parents else {}
    content |= {"plan_name": path.stem, **keys}
    path.write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False))
    return path


def line(path: Path, start: str) -> str:
    """``path:line`` of the first line that begins with `start`."""
    number = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if text.startswith(start))
    return f"{path}:{number}"
