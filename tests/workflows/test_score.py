"""`fran score` as it is typed, over folders and over tables of earlier scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fran.cli import main
from fran.geometry import Grid
from fran.io.volume import write_label_map
from fran.workflows.entry import refusal
from fran.workflows.schema import ScoreConfig
from fran.workflows.score import check

GRID = Grid((14, 9, 6), np.diag([0.8, 1.1, 2.0, 1.0]))


def _write(folder: Path, n: int, *, shift: int) -> Path:
    for i in range(n):
        lm = np.zeros(GRID.shape, np.uint8)
        lm[3 + shift : 8 + i % 2, 2:6, 1:4] = 1
        lm[10:12, 2:4, 1:4] = 2
        write_label_map(folder / f"kits_{i}.nii.gz", lm, GRID)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    gt = _write(tmp_path / "kits" / "lms", 8, shift=0)
    return _write(tmp_path / "good", 8, shift=0), _write(tmp_path / "bad", 8, shift=1), gt.parent


@pytest.mark.slow
def test_two_predictions_and_then_their_tables(fran, folders, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    good, bad, gt = folders
    (bad / "kits_7.nii.gz").unlink()
    names, few = "labels={1: kidney, 2: tumour}", ["samples=300", "num_processes=1"]
    done = fran("score", f"pred={good}", f"gt={gt}", f"against={bad}", names, *few)
    assert done.returncode == 1, "a reference without a prediction"
    assert "kits_7" in done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "kidney: Dice +0.1" in said
    assert "7 cases, 7 better and 0 worse" in said
    first = json.loads((good / "paired.json").read_text())
    assert not (bad / "scores.csv").exists()
    assert fran("score", f"pred={bad}", f"gt={gt}", names, *few).returncode == 1
    out = tmp_path / "compared"
    done = fran("score", f"pred={good}/scores.csv", f"against={bad}/scores.csv", f"output={out}", *few)
    assert done.returncode == 0, done.stderr
    second = json.loads((out / "paired.json").read_text())
    assert second["results"] == first["results"]
    assert not (out / "scores.csv").exists()


def test_some_of_the_cases(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, _, gt = folders
    for number in range(3, 8):
        (good / f"kits_{number}.nii.gz").unlink()
    ended: dict[str, tuple[object, str, str]] = {}
    for cases in ("all", "predicted"):
        typed = f"score pred={good} gt={gt} cases={cases} metrics=[] samples=10 pictures=0 num_processes=1 --json"
        monkeypatch.setattr("sys.argv", ["fran", *typed.split()])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        ended[cases] = (end.value.code, said.out, said.err)
    code, _, err = ended["all"]
    assert code == 1 and "5 of 8 references could not be scored" in err and "cases=predicted" in err
    code, out, err = ended["predicted"]
    scores = json.loads(out)["scores"]
    assert code == 0, err
    assert (scores["references"], scores["scored"], scores["left_out"]) == (3, 3, [f"kits_{k}" for k in range(3, 8)])


@pytest.mark.slow
def test_references_of_something_else_leave_the_scores_as_they_are(fran, folders, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    good, _, gt = folders
    assert fran("score", f"pred={good}", f"gt={gt}", "samples=100").returncode == 0
    before = {p.name: p.read_bytes() for p in good.iterdir()}
    other = tmp_path / "lits"
    other.mkdir()
    write_label_map(other / "lits_99.nii.gz", np.ones(GRID.shape, np.uint8), GRID)
    done = fran("score", f"pred={good}", f"gt={other}", "samples=100")
    assert done.returncode == 1
    assert "nothing was written" in done.stderr and "lits_99" in done.stderr
    assert {p.name: p.read_bytes() for p in good.iterdir()} == before


@pytest.mark.usefixtures("fran_home")
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("pred=here", "gt = None"),
        ("pred=here|gt=there|metrics=[nds]", "did you mean 'nsd'"),
        ("pred=a/scores.csv", "add against="),
        ("pred=a/scores.csv|against=b", "score b against"),
        ("pred=a|gt=b|cases=some", "choices: all, predicted"),
        ("pred=a|gt=b|lesion_iou=2", "a share from 0"),
        ("pred=a|gt=b|level=95", "such as 0.95"),
        ("pred=a|gt=b|num_processes=0", "-1 for all that fit"),
    ],
)
def test_settings_that_cannot_work(typed: str, words: str) -> None:
    assert words in refusal("score", ScoreConfig, check, typed.split("|"))
