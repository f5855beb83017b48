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
    r"\b[A-Z]+-\d+\b",  # models
    r"\b[A-Z][a-z]+[A-Z]\w*|\b[A-Z]{2,}_[A-Z_]+\b",  # classes, variables of the shell
    r"\b[a-z]+(?:_[a-z0-9]+)+\b",  # keys, columns, functions
    r"\bP\.\w+",  # methods of a project
)
# examples of names, and names of others
LEFT_OUT = {
    *("project_title", "project_name", "your_project_name", "project_mnemonic", "custom_dataset", "dataset_folder"),
    *("datasets_bkp", "lits_segs_improved", "fran_storage", "fran_test", "kits_21", "lung_segmentation", "run_names"),
    *("src_labels", "dest_labels", "project_folder", "KiTS21", "SimpleITK", "/s/fran_storage/hpc.yaml"),
    "PATH-TO-config.yaml",
    "impoarted_labels",  # a slip of the pen
}


# keys, columns, modes and folders that look like any other word of the text
SHORT = (
    *("ds", "alias", "case_id", "image", "lm", "fold", "test", "folder", "mode", "spacing", "datasources", "raytune"),
    *("mnemonic", "source", "lbd", "pbd", "patch", "whole", "images", "lms", "cache", "patches", "fastai"),
)


def left_column() -> set[str]:
    """Words of the code in the first cells of all tables; a path also as its parts, a flag also without its dashes."""
    first = [line.strip("| ").split("|")[0] for line in PAGE.splitlines() if line.startswith("|")]
    code = " ".join(span for cell in first for span in re.findall(r"`([^`]+)`", cell))
    words = {
        *re.findall(r"\w+", code),
        *re.findall(r"[\w./-]+", code),
        *re.findall(r"[\w.]+", code),
        *re.findall(r"[\w-]+", code),
    }
    return words | {word.strip("/") for word in words}


def test_every_name_has_its_place() -> None:
    file = Path(os.environ.get("FRAN_OLD_README") or REPOSITORY.parent / "shared" / "legacy" / "old_readme.txt")
    if not file.is_file():
        pytest.skip(f"no README of the older program in {file.parent}; FRAN_OLD_README may name it")
    text = file.read_text(encoding="utf-8")
    named = {name for pattern in NAMES for name in re.findall(pattern, text)} - LEFT_OUT
    assert len(named) > 60
    known = left_column()
    # some words of the text run into the next one: a long name is a part of what stands there
    long = {word for word in known if len(word) > 8 and "_" in word}
    assert {n for n in named if n not in known and not any(word in n for word in long)} == set()
    assert [word for word in SHORT if not re.search(rf"\b{word}\b", text)] == []
    assert [word for word in SHORT if word not in known] == []
    assert {"-t", "-i", "-e", "-n", "-p", "-s", "-po", "--debug", "LITS-1088"} <= named


def test_what_is_said_to_exist_exists() -> None:
    import fran
    from fran.cli import find

    for command in re.findall(r"`fran ([a-z-]+(?: [a-z-]+)?)", PAGE):
        _, verb, _ = find(command.split())
        assert isinstance(verb, Verb), command
    for script in re.findall(r"python (scripts/\w+\.py)", PAGE):
        assert (REPOSITORY / script).is_file()
    for name in re.findall(r"`from fran import (\w+)`", PAGE):
        assert name in fran.__all__
