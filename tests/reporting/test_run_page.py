"""The page of a run from its folder: whole, without validation, without anything, and with names that are markup."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fran.evaluation.intervals import Bootstrap
from fran.io.case_table import CaseScore, write_cases
from fran.reporting.page import write_page
from fran.reporting.run_page import RunFiles, curves, write_run_page

from .html_rules import Page, faults

HOW = Bootstrap(samples=100)
CASES = [
    CaseScore(f"kits_{i}", label, 0.9 - 0.2 * i, 0.5, 10.0, 20.0) for i in range(3) for label in ("<b>kidney", "&c")
]
METRICS = """epoch,step,train/loss,train/lr,train/data_wait_share,val/dice,val/dice_<b>kidney,val/dice_&c,val/n_&c
0,2,1.5,0.01,0.4,,,,
1,4,1.0,0.009,0.2,0.7,0.8,0.6,3
"""
ALARM = {"name": "flat loss", "subject": "<i>", "seen": "1 < 2", "cause": "a & b", "remedy": "x=1", "epoch": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from matplotlib.image import imsave

    made = tmp_path / 'run"><script>'
    (made / "overlays").mkdir(parents=True)
    (made / "metrics.csv").write_text(METRICS)
    (made / "alarms.json").write_text(json.dumps([ALARM]))
    (made / "overrides.json").write_text('["spacing=[1,1,<2>]"]')
    write_cases(made / "cases.csv", CASES)
    (made / "validation").mkdir()
    write_cases(made / "validation" / "epoch_0001.csv", CASES)
    for name in ("worst_2_kits_1_epoch_0001", "worst_1_kits_2_epoch_0001", "epoch_0000_kits_0", "epoch_0001_kits_0"):
        imsave(made / "overlays" / f"{name}.png", np.random.default_rng(0).random((30, 1300)))
    return made


def page(folder: Path, tmp_path: Path) -> str:
    run = RunFiles.read(folder)
    args = ([("plan", "<p>")], [("Predict", "fran infer 'runs=[<x>]'")], [("spacing", "[1, 1]")], [("model.f", "<f>")])
    return write_run_page(tmp_path / "run.html", run, *args, HOW).read_text()


def test_the_page_is_well_made_and_says_everything(folder: Path, tmp_path: Path) -> None:
    text = page(folder, tmp_path)
    assert faults(text) == []
    assert "<b>" not in text and "<script>alert" not in text and text.count("<script>") == 1
    assert "flat loss: &lt;i&gt;" in text and "1 &lt; 2" in text and "spacing=[1,1,&lt;2&gt;]" in text
    words = Page(text)
    titles = [words.words[i].split("\n")[0] for i, _ in words.named("figcaption")]
    assert [t for t in titles if "kits" in t] == [
        "1. lowest: kits_2epoch 1; Dice: <b>kidney 0.500, &c 0.500",
        "2. lowest: kits_1epoch 1; Dice: <b>kidney 0.700, &c 0.700",
        "example: kits_0epoch 1; Dice: <b>kidney 0.900, &c 0.900",
    ]
    assert all(int(a["width"]) <= 1100 for _, a in words.named("img"))
    assert len(text) < 250_000


def test_charts_are_those_that_have_values(folder: Path) -> None:
    found = {chart.title: chart for chart in curves(RunFiles.read(folder))}
    assert list(found) == [
        "Training loss",
        "Dice of each label",
        "Dice over cases",
        "Learning rate",
        "Share of time spent waiting for data",
    ]
    assert [name for _, name in found["Dice of each label"].names] == ["<b>kidney", "&c", "mean of 2 labels"]
    assert [name for _, name in found["Dice over cases"].names] == ["best case", "median", "worst case"]


def test_a_run_that_was_never_validated(folder: Path, tmp_path: Path) -> None:
    (folder / "cases.csv").unlink()
    (folder / "validation" / "epoch_0001.csv").unlink()
    (folder / "alarms.json").unlink()
    for path in (folder / "overlays").iterdir():
        path.unlink()
    (folder / "metrics.csv").write_text("epoch,train/loss,val/dice\n0,1.5,\n1,1.2,\n")
    text = page(folder, tmp_path)
    assert faults(text) == []
    assert "Not validated" in text and "keeps no pictures" in text and "<p>None.</p>" in text
    assert [c.title for c in curves(RunFiles.read(folder))] == ["Training loss"]


def test_an_empty_folder_has_a_page(tmp_path: Path) -> None:
    text = page(tmp_path / "nothing", tmp_path)
    assert faults(text) == []
    assert "no metrics.csv that could be read" in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("alarms.json", "{", "alarms.json"),
        ("overrides.json", "3", "expected a list, found int"),
        ("metrics.csv", "epoch,train/loss\n0,low\n", "expected numbers in"),
        ("metrics.csv", "loss\n1\n", "a column called epoch"),
        ("cases.csv", "a,b\n1,2\n", "expected the columns case"),
        ("overlays/worst_1_kits_2_epoch_0001.png", "no picture", "expected a picture"),
    ],
)
def test_a_broken_file_is_said_and_the_rest_is_shown(
    folder: Path, tmp_path: Path, name: str, content: str, said: str
) -> None:
    (folder / name).write_text(content)
    text = page(folder, tmp_path)
    assert faults(text) == []
    assert said in text and 'class="warning"' in text
    assert "2. lowest: kits_1" in text


def test_equal_runs_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    assert page(folder, tmp_path) == page(folder, tmp_path)


def test_the_rules_find_what_is_wrong(tmp_path: Path) -> None:
    text = write_page(tmp_path / "p.html", "page.html", title="A page").read_text()
    assert faults(text) == []
    for good, bad, said in (
        ("<h1>", "<h1></h1><h1>", "2 <h1>"),
        ("<main>", '<main><img src="data:image/png;base64,">', "an image without alt"),
        ("<main>", "<main><table><tr><th>a</th></tr></table>", "a table without caption"),
        ("<main>", "<main><table><tr><th>a</th></tr></table>", "a heading cell without scope"),
        ("<main>", '<main id="x"><p id="x">a</p>', "id x twice"),
        ("<main>", '<main><a href="https://example.org">a</a>', "href leads to https://example.org"),
        ("<main>", '<main><a href="#no">a</a>', "no #no"),
        ("<main>", "<main><h3>a</h3>", "h3 after h1"),
        ("</style>", "a { background: url(x.png) }</style>", "a style fetches url(x.png)"),
        ("<main>", "<main><svg></svg>", "a drawing without a name"),
        ("<main>", "<main><p>", "</main> closes nothing"),
    ):
        assert said in faults(text.replace(good, bad, 1))
