"""Imported files on disk: the same workbook gives the same bytes, and what people changed by hand stays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, StoreError
from fran.excel.importer import Imported
from fran.io.files import atomic_path, read_json, write_json

MANIFEST = "import_manifest.json"


@dataclass(frozen=True)
class Written:
    """What happened to the files of an import.

    Attributes:
        written: made, or updated.
        unchanged: were the same already.
        kept: file to the reason why it was left as it is.
        left_over: of an earlier import of the workbook, which no longer gives them.
    """

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: Mapping[str, str]
    left_over: tuple[str, ...]


def write_files(imported: Imported, out: Path, *, force: bool = False) -> Written:
    """Write the files of an import below `out`, and beside them a manifest of their digests.

    A file that differs from what the manifest says was written is somebody's work, and so is one that the manifest does
    not know: both are kept unless `force` is set. A file of another workbook is kept too.

    Raises:
        ConfigError: `out` is a file.
        StoreError: the manifest is damaged.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, found a file; name another")
    known = _known(out / MANIFEST)
    written, unchanged, kept = [], [], {}
    for name, text in imported.files.items():
        path, old = out / name, known.get(name, {})
        now = _digest(path)
        if now == _text_digest(text):
            unchanged.append(name)
        elif now is not None and not force and (reason := _theirs(now, old, imported.workbook)):
            kept[name] = reason
            continue
        else:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
            written.append(name)
        known[name] = {"digest": _text_digest(text), "workbook": imported.workbook}
    left = [n for n, old in known.items() if old["workbook"] == imported.workbook and n not in imported.files]
    write_json(out / MANIFEST, {"files": known})
    gone = tuple(sorted(name for name in left if (out / name).exists()))
    return Written(tuple(written), tuple(unchanged), kept, gone)


def _known(manifest: Path) -> dict[str, dict[str, str]]:
    if not manifest.exists():
        return {}
    content: Any = read_json(manifest)
    try:
        return {
            str(k): {"digest": str(v["digest"]), "workbook": str(v["workbook"])} for k, v in content["files"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{manifest}: expected what an import wrote; delete it, and import with --force") from error


def _theirs(now: str, old: Mapping[str, str], workbook: str) -> str:
    """Why an existing file is not ours to replace; empty where it is."""
    if not old:
        return "it was there before the first import"
    if now != old["digest"]:
        return "it was changed by hand"
    return "" if old["workbook"] == workbook else f"it comes from {old['workbook']}"


def _digest(path: Path) -> str | None:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() if path.exists() else None


def _text_digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
