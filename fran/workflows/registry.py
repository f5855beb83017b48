"""Files by which later commands know a project and its datasources: ``conf/project`` and ``conf/datasource``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from fran.io.files import atomic_path
from fran.io.places import home
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.schema import DatasourceConfig, ProjectConfig

log = logging.getLogger("fran.init")

LABELS_FILE = "labels.json"


def as_before(entries: Mapping[str, DatasourceConfig], stated: Collection[str]) -> dict[str, DatasourceConfig]:
    """Datasources given as folders, with what an earlier command said about them where this one says nothing.

    Args:
        entries: by name.
        stated: settings that the command line names.
    """
    found = {}
    for name, entry in entries.items():
        former = _registered(name, entry)
        own_labels = (Path(entry.folder) / LABELS_FILE).is_file()
        kept = {
            key: value
            for key, value in former.items()
            if key not in stated and value != getattr(entry, key) and not (key == "labels" and own_labels)
        }
        if kept:
            log.info("%s: as before, %s", name, ", ".join(f"{key}={_plain(value)}" for key, value in kept.items()))
        found[name] = replace(entry, **kept)
    return found


def register(project: ProjectConfig, entries: Mapping[str, DatasourceConfig]) -> None:
    """Write the files that are not there; bring those of datasources up to date that nobody has edited.

    A file about another folder of the same name is left alone.
    """
    file = _file_of("project", project.title)
    if file is None:
        _write(_own("project", project.title), {key: value for key, value in vars(project).items() if value})
    for name, entry in entries.items():
        content = {key: value for key, value in asdict(entry).items() if value is not None}
        content["folder"] = str(Path(entry.folder).expanduser().resolve())
        file = _file_of("datasource", name)
        if file is None:
            _write(_own("datasource", name), {name: content})
            continue
        before = {**asdict(DatasourceConfig()), **_read(file, name)}
        after = {**asdict(DatasourceConfig()), **content}
        other = [key for key in after if after[key] != before.get(key)]
        if not other or not _is_of(before["folder"], content["folder"]):
            continue
        changed = ", ".join(f"{key}={_plain(after[key])}" for key in other)
        if file == _own("datasource", name) and "#" not in file.read_text(encoding="utf-8"):
            _write(file, {name: content})
            log.info("%s: from now on %s (%s)", name, changed, file)
        else:
            log.warning("%s: now %s, but %s says something else and was not changed; edit it", name, changed, file)


def _registered(name: str, entry: DatasourceConfig) -> dict[str, Any]:
    """What the datasource's file says about it."""
    file = _file_of("datasource", name)
    found = _read(file, name) if file is not None else {}
    own = _is_of(found.pop("folder", ""), entry.folder)
    return {key: value for key, value in found.items() if own and hasattr(entry, key)}


def _is_of(registered: Any, folder: str) -> bool:
    """Whether a file that names the folder `registered` is about `folder`: that one, or where it was moved to."""
    former = Path(str(registered)).expanduser()
    return former == Path(folder) or not former.exists()


def _read(file: Path, name: str) -> dict[str, Any]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = content.get(name) if isinstance(content, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _own(group: str, name: str) -> Path:
    return home() / "conf" / group / f"{name}.yaml"


def _file_of(group: str, name: str) -> Path | None:
    places = (folder / group / f"{name}.yaml" for folder in (*user_conf_dirs(), conf_dir()))
    return next((place for place in places if place.is_file()), None)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _plain(value: Any) -> str:
    """A value as a command line states it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
