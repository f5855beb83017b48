"""Every page of a report as axe-core, in a real browser, judges it: narrow and wide, light and dark."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.io.case_table import CaseScore, write_cases
from fran.projects.project import Project
from fran.workflows.entry import Job
from fran.workflows.projects import folders_of
from fran.workflows.report import report
from fran.workflows.schema import PathsConfig, ProjectConfig, ReportConfig

RUN = """<script>
axe.run().then(found => {
  const said = v => v.id + ": " + v.nodes[0].html.slice(0, 120) + " " + v.nodes[0].failureSummary;
  const faults = found.violations.map(said);
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  document.title = JSON.stringify({ faults, passed: found.passes.map(p => p.id) });
});
</script></body>"""


def axe() -> str:
    """The source of axe-core."""
    places = [os.environ.get("FRAN_AXE", ""), Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"]
    found = next((Path(place) for place in places if place and Path(place).is_file()), None)
    if found is None:
        pytest.skip("no axe-core; npm install --no-save axe-core in the repository, or FRAN_AXE=<axe.min.js>")
    return found.read_text(encoding="utf-8")


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
        rows = [CaseScore(f"c{i}", label, dice + 0.01 * i, 0.5, 3.0, 4.0) for i in range(8) for label in "ab"]
        write_cases(run / "cases.csv", rows)
    alarm = {"name": "flat loss", "subject": "a", "seen": "it", "cause": "lr", "remedy": "x=1", "epoch": 1}
    (folders.checkpoints / "new" / "alarms.json").write_text(json.dumps([alarm]))
    made = {}
    for name, settings in {"run": {"run": "new"}, "project": {}, "compare": {"compare": ["new", "old"]}}.items():
        made[name] = folder / f"{name}.html"
        report(Job(ReportConfig(paths, config.project, samples=100, output=str(made[name]), **settings), {}, {}, ()))
    return made


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(500, False), (1400, True)])
@pytest.mark.parametrize("name", ["run", "project", "compare"])
def test_axe_finds_nothing(pages: dict[str, Path], tmp_path: Path, name: str, width: int, dark: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    checked = tmp_path / "checked.html"
    # what is folded away is judged too
    text = pages[name].read_text().replace("<details>", "<details open>")
    checked.write_text(text.replace("</body>", f"<script>{axe()}</script>{RUN}"))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    flags += [f"--window-size={width},900", "--virtual-time-budget=30000", f"--user-data-dir={tmp_path / 'browser'}"]
    flags += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    done = subprocess.run([browser, *flags, checked.as_uri()], capture_output=True, text=True, timeout=240, check=True)
    said = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL).group(1).replace("&amp;", "&"))
    assert said["faults"] == []
    assert "color-contrast" in said["passed"], "axe looked"
