"""Every kind of page as axe-core, in a real browser, judges it: on a phone and a desktop, light and dark."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.io.case_table import CaseScore, write_cases
from fran.projects.project import Project
from fran.reporting.overlay import overlay_png
from fran.workflows.entry import Job
from fran.workflows.projects import folders_of
from fran.workflows.report import report
from fran.workflows.schema import PathsConfig, ProjectConfig, ReportConfig, ScoreConfig
from fran.workflows.score import score

# within the page: what axe-core finds goes to the page around it
RUN = """<script>
axe.run().then(found => {
  const said = v => v.id + ": " + v.nodes[0].html.slice(0, 120) + " " + v.nodes[0].failureSummary;
  const faults = found.violations.map(said);
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  parent.postMessage({ faults, dark, width: innerWidth, passed: found.passes.map(p => p.id) }, "*");
});
</script></body>"""
# around the pages: no window of Chromium is as narrow as a phone, a frame is
AROUND = """<!doctype html><meta charset="utf-8"><title>waiting</title><body><script>
const pages = PAGES, names = Object.keys(pages), said = {};
const next = () => {
  if (!names.length) { document.title = JSON.stringify(said); return; }
  const name = names.shift(), frame = document.createElement("iframe");
  [frame.width, frame.height, frame.src] = [pages[name][1], 900, pages[name][0]];
  onmessage = message => { said[name] = message.data; frame.remove(); next(); };
  document.body.append(frame);
};
next();
</script>"""
PHONE, DESKTOP = 390, 1400


def axe() -> str:
    """The source of axe-core: FRAN_AXE, or the one of the package that `make install` brings."""
    if named := os.environ.get("FRAN_AXE"):
        return Path(named).read_text(encoding="utf-8")
    return (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, of a project with two runs, one of which raised an alarm."""
    folder = tmp_path_factory.mktemp("axe")
    paths = PathsConfig(*(str(folder / name) for name in ("projects", "cold", "rapid", "checkpoints")))
    config = ReportConfig(paths, ProjectConfig("organs"), samples=100)
    folders = folders_of(paths, config.project)
    project = Project("organs", folders)
    project.create()
    project.add_data(Datasource(make_phantoms(folder / "raw" / "organs", 3, 0, name="organs"), modality="CT"))
    project.maybe_store_projectwide_properties()
    for name, dice in (("new", 0.8), ("old", 0.6)):
        run = folders.checkpoints / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"plan_name: plan1\nspacing: [1, 1, 3]\ntrainer: {{seed: {int(dice * 10)}}}\n")
        (run / "metrics.csv").write_text(
            "epoch,train/loss,val/dice,val/dice_a,val/dice_b\n0,2,.5,.4,.6\n1,1,.6,.5,.7\n"
        )
        (run / "last.ckpt").touch()
        # longer than a screen, with a choice of labels above it
        rows = [CaseScore(f"c{i:02d}", label, dice + 0.002 * i, 0.5, 3.0, 4.0) for i in range(60) for label in "ab"]
        write_cases(run / "cases.csv", rows)
        for epoch in (0, 1):
            write_cases(run / "validation" / f"epoch_{epoch:04d}.csv", rows)
    image, lm = np.random.default_rng(0).normal(size=(24, 20, 16)), np.zeros((24, 20, 16), np.uint8)
    lm[6:14, 5:12, 4:11], names = 1, {1: "a", 2: "b"}
    for picture in ("worst_1_c00_epoch_0001", "worst_2_c01_epoch_0001", "epoch_0001_c05"):
        file = folders.checkpoints / "new" / "overlays" / f"{picture}.png"
        overlay_png(image, np.roll(lm, 3, axis=0), lm, names, (1.0, 1.0, 3.0), file)
    alarm = {"name": "flat loss", "subject": "a", "seen": "it", "cause": "lr", "remedy": "x=1", "epoch": 1}
    (folders.checkpoints / "new" / "alarms.json").write_text(json.dumps([alarm]))
    made = {}
    for name, settings in {"run": {"run": "new"}, "project": {}, "compare": {"compare": ["new", "old"]}}.items():
        made[name] = folder / f"{name}.html"
        report(Job(ReportConfig(paths, config.project, samples=100, output=str(made[name]), **settings), {}, {}, ()))
    raw = folder / "raw" / "organs"
    score(Job(ScoreConfig(pred=str(raw / "lms"), gt=str(raw), output=str(folder / "scored"), samples=100), {}, {}, ()))
    text = made["run"].read_text()
    assert text.count("<img ") == 3 and "<select " in text and "Dice over cases" in text and text.count("<tr>") > 120
    return made | {"scores": folder / "scored" / "scores.html"}


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(pages: dict[str, Path], tmp_path: Path, dark: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    frames = {}
    for name, page in pages.items():
        checked = tmp_path / f"{name}.html"
        # what is folded away is judged too
        text = page.read_text().replace("<details>", "<details open>")
        checked.write_text(text.replace("</body>", f"<script>{axe()}</script>{RUN}"))
        frames |= {f"{name} {width}": (checked.as_uri(), width) for width in (PHONE, DESKTOP)}
    around = tmp_path / "around.html"
    around.write_text(AROUND.replace("PAGES", json.dumps(frames)))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    flags += ["--window-size=1500,1000", "--virtual-time-budget=120000", f"--user-data-dir={tmp_path / 'browser'}"]
    flags += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    done = subprocess.run([browser, *flags, around.as_uri()], capture_output=True, text=True, timeout=400, check=True)
    said = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL).group(1)))
    assert {name: one["faults"] for name, one in said.items()} == {name: [] for name in frames}
    for name, one in said.items():
        assert (one["dark"], one["width"]) == (dark, frames[name][1])
        assert "color-contrast" in one["passed"], "axe looked"
