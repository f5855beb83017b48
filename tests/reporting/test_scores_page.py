"""The page of scores: what is in it, that nothing of it needs a network, and how it behaves in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fran.evaluation.intervals import Bootstrap
from fran.evaluation.paired import compare
from fran.evaluation.scoring import score_folder
from fran.evaluation.summary import summarise
from fran.geometry import Grid
from fran.io.volume import write_label_map
from fran.reporting.scores_page import Comparison, draw_worst, write_scores_page

GRID = Grid((22, 17, 9), np.diag([0.8, 1.1, 2.0, 1.0]))
HOW = Bootstrap(samples=100)
NAMES = {1: "kidney", 2: "<b>tumour</b>"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases, each worse than the one before; the last lacks its tumour."""
    pred, gt = tmp_path / "pred", tmp_path / "kits"
    for i in range(3):
        ref, found = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
        ref[4:12, 3:10, 2:6], ref[14:17, 3:6, 2:6] = 1, 2
        found[4 + i : 12, 3:10, 2:6] = 1
        if i < 2:
            found[14:17, 3:6, 2:6] = 2
        write_label_map(gt / "lms" / f"kits_{i}.nii.gz", ref, GRID)
        write_label_map(gt / "images" / f"kits_{i}.nii.gz", (ref * 80).astype(np.uint8), GRID)
        write_label_map(pred / f"kits_{i}.nii.gz", found, GRID)
    (gt / "images" / "kits_1.nii.gz").unlink()
    (gt / "images" / "kits_2.nii.gz").write_bytes(b"")
    return pred, gt


@pytest.fixture
def page(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    table = score_folder(*folders, names=NAMES)
    summary = summarise(table.scores, table.measures, HOW)
    lines = compare(table.scores, table.scores, ["dice", "hd95_mm"], HOW)
    pictures = draw_worst(table, 4)
    return write_scores_page(tmp_path / "scores.html", HOW, table, summary, pictures, Comparison("the same", lines))


class Checked(HTMLParser):
    """Every tag is closed in order, and nothing is fetched."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action") and not v.startswith("data:")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs) -> None:
        self.addresses += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if {"td", "th"} & set(self.open) and "small" not in self.open:
            self.rows[-1][-1] += data


def test_the_page_stands_alone(page: Path) -> None:
    text = page.read_text()
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    assert checked.addresses == []
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(text) < 60_000
    assert text.count("<svg") == 4
    assert "<b>tumour</b>" not in text
    assert "&lt;b&gt;tumour&lt;/b&gt;" in text
    cases = [row for row in checked.rows if row[0].startswith("kits_")]
    assert [row[0] for row in cases[:2]] == ["kits_2", "kits_2"], "worst first"
    assert cases[0][:5] == ["kits_2", "<b>tumour</b>", "0.000", "0.000", "∞"]
    assert [row[2] for row in cases] == ["0.000", "0.857", "0.933", "1.000", "1.000", "1.000"]
    assert text.count("no image found") == 1
    assert text.count("the image cannot be read") == 2


def test_equal_scores_give_equal_bytes(page: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    before = page.read_bytes()
    table = score_folder(*folders, names=NAMES)
    lines = compare(table.scores, table.scores, ["dice", "hd95_mm"], HOW)
    summary = summarise(table.scores, table.measures, HOW)
    write_scores_page(page, HOW, table, summary, draw_worst(table, 4), Comparison("the same", lines))
    assert page.read_bytes() == before


def test_a_comparison_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = score_folder(*folders).scores
    lines = compare(scores, scores, ["dice"], HOW)
    text = write_scores_page(tmp_path / "p.html", HOW, comparison=Comparison("other.csv", lines)).read_text()
    assert "Compared with other.csv" in text
    assert "<dt>" not in text
    assert "Every case" not in text


def test_missing_predictions_stand_at_the_top(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "kits_0.nii.gz").unlink()
    table = score_folder(*folders)
    summary = summarise(table.scores, table.measures, HOW)
    text = write_scores_page(tmp_path / "p.html", HOW, table, summary).read_text()
    assert text.index("none for kits_0") < text.index("Over cases")


def test_raw_values_of_a_datasource_are_drawn_translated(tmp_path: Path) -> None:
    """The model calls b's liver 3; in b's files it is 1."""
    raw, found = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    raw[4:12, 3:10, 2:6], found[5:12, 3:10, 2:6] = 1, 3
    write_label_map(tmp_path / "b" / "b_1.nii.gz", raw, GRID)
    write_label_map(tmp_path / "pred" / "b_1.nii.gz", found, GRID)
    labels = {"values": [3], "names": {"3": "liver"}, "origins": {"3": [["b", 1, "liver"]]}}
    (tmp_path / "pred" / "b_1.json").write_text(json.dumps({"labels": labels}))
    (picture,) = draw_worst(score_folder(tmp_path / "pred", tmp_path / "b", datasource="b"), 5)
    assert picture.title == "b_1, liver"
    assert picture.svg.count('class="outline') == 2


def test_images_of_nnunet_are_found_beside_the_references(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pred, gt = folders
    raw = tmp_path / "Dataset002_Kits"
    raw.mkdir()
    (gt / "lms").rename(raw / "labelsTr")
    (raw / "imagesTr").mkdir()
    (gt / "images" / "kits_0.nii.gz").rename(raw / "imagesTr" / "kits_0_0000.nii.gz")
    where = {picture.title: picture.where for picture in draw_worst(score_folder(pred, raw), 9)}
    assert "no image" not in where["kits_0, label_1"] and "no image found" in where["kits_1, label_1"]


SCRIPT = """
<script>
const said = {}, tables = [...document.querySelectorAll("table")], cases = tables.at(-1);
const column = i => [...cases.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[i].textContent);
const press = i => { cases.querySelectorAll("thead button")[i].click(); return column(i); };
said.hd95_up = press(4);
said.hd95_down = press(4);
said.state = cases.querySelectorAll("th")[4].getAttribute("aria-sort");
said.names = press(0);
const choice = cases.closest(".table").querySelector("select");
choice.value = "kidney"; choice.onchange();
said.kidneys = column(1);
said.width = document.documentElement.scrollWidth <= innerWidth;
document.title = JSON.stringify(said);
</script></body>
"""


@pytest.mark.browser
@pytest.mark.slow
def test_tables_sort_and_narrow_down(page: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    # the page's own policy lets no script in but those that stand in it
    page.write_text(page.read_text().replace("</body>", SCRIPT))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--dump-dom"]
    done = subprocess.run([browser, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    said = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1))
    assert said["hd95_up"] == ["0.00", "0.00", "0.00", "0.80", "1.60", "∞"]
    assert said["hd95_down"] == said["hd95_up"][::-1]
    assert said["state"] == "descending"
    assert said["names"] == sorted(said["names"])
    assert said["kidneys"] == ["kidney"] * 3
    assert said["width"], "nothing but the tables is wider than a phone"
