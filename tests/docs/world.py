"""A home folder and raw data as the pages speak of them, small enough for every command to be run."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
import openpyxl
import pytest

from fran.io.volume import stem
from fran.labels import LabelScheme

SOURCES: Mapping[str, Mapping[int, str]] = {
    "kits": {1: "kidney", 2: "tumour"},
    "lits": {1: "liver", 2: "tumour"},
    "ts": {2: "kidney_right", 3: "kidney_left", 5: "liver"},
    "stsct": {1: "sarcoma"},
    "late": {1: "kidney", 2: "tumour"},
    "old_scans": {1: "kidney", 2: "tumour"},
    "demo": {1: "kidney", 2: "tumour"},
    "nodesthick": {1: "node"},
    "nodes": {1: "node"},
}
AFFINE = np.array([[1.6, 0.0, 0.0, -5.0], [0.0, 0.0, -1.8, 40.0], [0.0, 3.1, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
FINE = """# @package _global_
defaults:
  - plan1
  - _self_
plan_name: fine
spacing: [0.8, 0.8, 0.8]
patch_dim0: 96
patch_dim1: 96
"""
RULES = {"1": {"name": "kidney", "dusting_threshold": 2, "k_largest": 1}}


class World:
    """``$HOME`` with fran's home in it, ``/data``, and the folder in which commands are typed."""

    def __init__(self, root: Path, projects: Mapping[str, Sequence[str]], cysts: bool = False) -> None:
        self.home, self.data, self.here = root / "ann", root / "data", root / "here"
        self.here.mkdir(parents=True)
        for k, (name, labels) in enumerate(SOURCES.items()):
            more = {3: "cyst"} if cysts and name == "kits" else {}
            _write_source(self.data / name, {**labels, **more}, 6 if name in ("kits", "demo") else 3, k)
            (self.here / name).symlink_to(self.data / name)
        (self.here / "raw").symlink_to(self.data)
        for copied in ("references", "predictions"):
            shutil.copytree(self.data / "kits" / "lms", self.data / copied)
        _say_what_is_predicted(self.data / "predictions")
        shutil.copytree(self.data / "kits" / "images", self.data / "new")
        for name in ("new", "predictions", "references", "nnUNet_raw"):
            (self.here / name).symlink_to(self.data / name)
        (self.here / "other_program").symlink_to(self.data / "predictions")
        (self.here / "my_rules.json").write_text(json.dumps(RULES))
        _write_nnunet(self.data / "nnUNet_raw" / "Dataset004_Liver", self.data / "lits")
        for book in ("nodes.xlsx", "book.xlsx"):
            _write_workbook(self.here / book)
        plans = self.home / "fran" / "conf" / "plan"
        plans.mkdir(parents=True)
        (plans / "fine.yaml").write_text(FINE)
        self._projects = projects

    def make_projects(self) -> None:
        """The projects of the pages; the process must be `at` this world."""
        from fran import Project

        for title, sources in self._projects.items():
            project = Project(title)
            project.create()
            project.add_data([{"ds": name, "folder": self.data / name, "alias": None} for name in sources])
            project.set_lm_groups([[name] for name in sources])
            project.maybe_store_projectwide_properties()
            project.folders.mask_labels.write_text(json.dumps(RULES))
        run(["fran", "import-excel", "nodes.xlsx", "--out", "my_conf"])

    def spoil(self, verb: str) -> None:
        """Give the label maps of ``raw/kits`` what `fran fix <verb>` mends."""
        one = sorted((self.data / "kits" / "lms").iterdir())[0]
        if verb == "harmonise":
            moved = AFFINE.copy()
            moved[0, 3] += 0.3
            nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(one).dataobj), moved), one)
            return
        other = {"names": "kits-00001.nii.gz", "rename-duplicates": "kits_00001_2020.nii.gz"}.get(verb)
        for side in ("images", "lms"):
            if other:
                shutil.copy(self.data / "kits" / side / one.name, self.data / "kits" / side / other)

    @contextlib.contextmanager
    def at(self) -> Iterator[None]:
        """The process's home and working folder are this world's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.home))
            for name in ("FRAN_HOME", "FRAN_CONF", "FRAN_COMMON_PATHS"):
                patch.delenv(name, raising=False)
            patch.chdir(self.here)
            yield

    def words(self, arguments: Sequence[str]) -> list[str]:
        """A command's words with places of this world."""
        there = [a.replace("/data/", f"{self.data}/").replace("/new/place", str(self.data)) for a in arguments]
        return [os.path.expanduser(a) if a.startswith("~/") else a for a in there]  # noqa: PTH111 - as a shell does


def run(words: Sequence[str]) -> tuple[int, str]:
    """Exit status of a command in this process, and all that it said."""
    from fran.cli import main

    said, argv = io.StringIO(), sys.argv
    sys.argv = list(words)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as ended:
        return (ended.code if isinstance(ended.code, int) else int(bool(ended.code))), said.getvalue()
    except Exception:  # noqa: BLE001 - reported with its traceback as the command's failure
        return 1, said.getvalue() + traceback.format_exc()
    finally:
        sys.argv = argv
    return 0, said.getvalue()


def jobs_of_sweep(words: Sequence[str]) -> list[list[str]]:
    """The command line of each job of a sweep (``-m``); any other command as it is."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if "-m" not in words:
        return [list(words)]
    parsed = OverridesParser.create().parse_overrides([w for w in words if "=" in w])
    each = [
        [f"{o.key_or_group}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in parsed
    ]
    kept = [w for w in words if "=" not in w and w != "-m"]
    return [[*kept, *map(str, job)] for job in itertools.product(*each)]


def _say_what_is_predicted(folder: Path) -> None:
    """The names and origins of kits' labels beside each label map, as `fran infer` writes them."""
    origins = {value: (("kits", value, name),) for value, name in SOURCES["kits"].items()}
    said = {"labels": LabelScheme(tuple(origins), SOURCES["kits"], origins).to_dict()}
    for lm in folder.glob("*.nii.gz"):
        (folder / f"{stem(lm)}.json").write_text(json.dumps(said))


def _write_source(folder: Path, labels: Mapping[int, str], n: int, seed: int) -> None:
    for side in ("images", "lms"):
        (folder / side).mkdir(parents=True)
    for k in range(n):
        rng = np.random.default_rng([seed, k])
        lm = np.zeros((20, 12, 16), np.uint8)
        for place, label in enumerate(labels):
            lm[3 + 5 * place : 6 + 5 * place, 3:8, 4 + k % 3 : 11] = label
        image = np.where(lm, 100 + 40 * lm, rng.normal(0, 60, lm.shape)).astype(np.int16)
        image[:, -3:] = -1000  # air: a CT
        name = f"{folder.name}_{k + 1:05d}.nii.gz" if "_" not in folder.name else f"oldscans_{k + 1:05d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "images" / name)
        nibabel.save(nibabel.Nifti1Image(lm, AFFINE), folder / "lms" / name)
    (folder / "labels.json").write_text(json.dumps({str(value): name for value, name in labels.items()}))


def _write_nnunet(folder: Path, like: Path) -> None:
    """A folder of nnU-Net v2 with the cases of a datasource."""
    for side, ending, new in (("images", "_0000", "imagesTr"), ("lms", "", "labelsTr")):
        (folder / new).mkdir(parents=True)
        for file in (like / side).iterdir():
            shutil.copy(file, folder / new / file.name.replace(".nii.gz", f"{ending}.nii.gz"))
    n = len(list((like / "lms").iterdir()))
    labels = {"background": 0, "liver": 1, "tumour": 2}
    stated = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": n, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(stated))


def _write_workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, more in {"plan1": [("mode", "source")], "plan2": [("source_plan", "plan1"), ("mode", "lbd")]}.items():
        sheet = book.create_sheet(name)
        spacing = [("spacing", "1.6,1.8,3.1")] if name == "plan1" else []
        for row in [("var_name", "manual_value"), ("patch_dim0", 32), ("patch_dim1", 16), *spacing, *more]:
            sheet.append(row)
    book.save(path)
