"""docs/legacy.md has every command, flag, key, file and class that the older program's README names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fran.workflows.verbs import Verb

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "legacy.md").read_text(encoding="utf-8")

NAMES = (
    r"[\w/-]+\.(?:py|sh|yaml|json|xlsx|db|txt)\b",  # files
    r"(?<![\w-])--?[a-z_]+\b",  # flags
    r"\b[A-Z][a-z]+[A-Z]\w*|\b[A-Z]{2,}_[A-Z_]+\b",  # classes, variables of the shell
    r"\b[a-z]+(?:_[a-z0-9]+)+\b",  # keys, columns, functions
    r"\bP\.\w+",  # methods of a project
)
# examples of names, and names of others
LEFT_OUT = {
    *("project_title", "project_name", "your_project_name", "project_mnemonic", "custom_dataset", "dataset_folder"),
    *("datasets_bkp", "lits_segs_improved", "fran_storage", "fran_test", "kits_21", "lung_segmentation", "run_names"),
    *("src_labels", "dest_labels", "project_folder", "KiTS21", "SimpleITK", "/s/fran_storage/hpc.yaml"),
    "impoarted_labels",  # a slip of the pen
}


def test_every_name_has_its_place() -> None:
    file = Path(os.environ.get("FRAN_OLD_README") or REPOSITORY.parent / "shared" / "legacy" / "old_readme.txt")
    if not file.is_file():
        pytest.skip(f"no README of the older program in {file.parent}; FRAN_OLD_README may name it")
    text = file.read_text(encoding="utf-8")
    named = {name for pattern in NAMES for name in re.findall(pattern, text)} - LEFT_OUT
    assert len(named) > 60
    # some words of the text run into the next one: the name is a part of what stands there
    known = {word for word in re.findall(r"[\w./-]{2,}", PAGE) if "_" in word or "-" in word or "." in word}
    missing = {n for n in named if not (n in PAGE or any(len(word) > 8 and word in n for word in known))}
    assert missing == set()


def test_what_is_said_to_exist_exists() -> None:
    import fran
    from fran.cli import find

    for command in re.findall(r"`fran ([a-z-]+)", PAGE):
        _, verb, _ = find([command])
        assert isinstance(verb, Verb), command
    for script in re.findall(r"python (scripts/\w+\.py)", PAGE):
        assert (REPOSITORY / script).is_file()
    for name in re.findall(r"`from fran import (\w+)`", PAGE):
        assert name in fran.__all__
