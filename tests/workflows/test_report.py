"""`fran report` as a user types it: a project without runs, a run that was trained, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.errors import DataError, StoreError
from fran.io.case_table import CaseScore, write_cases
from fran.projects.project import Project
from fran.tracking.mlflow_logger import remember_run
from fran.tracking.runs import RunRecord, write_record
from fran.workflows.entry import Job
from fran.workflows.projects import folders_of
from fran.workflows.report import check, report
from fran.workflows.run_stages import INFERENCE, NETWORK, OTHER, PREPROCESSING, STAGES, TRAINING, differing
from fran.workflows.schema import PathsConfig, ProjectConfig, ReportConfig

from ..reporting.html_rules import Page, faults


@pytest.fixture
def config(tmp_path: Path) -> ReportConfig:
    """A project of three cases with folds, no run, and one case whose image is gone."""
    paths = PathsConfig(*(str(tmp_path / name) for name in ("projects", "cold", "rapid", "checkpoints")))
    made = Project("organs", folders_of(paths, ProjectConfig("organs")))
    made.create("<abdomen>")
    made.add_data(Datasource(make_phantoms(tmp_path / "raw" / "organs", 3, 0, name="organs"), modality="CT"))
    made.maybe_store_projectwide_properties()
    made.cases()[1].image.unlink()
    return ReportConfig(paths, ProjectConfig("organs"), samples=100)


def written(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    report(Job(config, {}, {}, ()))
    return Path(capsys.readouterr().out.strip().splitlines()[-1]).read_text()


def test_a_project_without_runs(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> None:
    text = written(config, capsys)
    assert faults(text) == []
    page = Page(text)
    rows = [page.words[i].split("\n") for i, _ in page.named("tr")]
    assert sum(row[0].startswith("organs_00") for row in rows) == 3
    assert "Nothing was trained yet" in text and "&lt;abdomen&gt;" in text and "<abdomen>" not in text
    assert "2 of 3 cases, labels outlined" in text and "organs_002: not drawn" in text
    assert {"Volume of kidney", "Volume of tumour", "Spacing along z"} <= {
        page.words[i] for i, _ in page.named("strong")
    }
    assert len(page.named("img")) == 1 and len(text) < 400_000


def test_no_contact_sheet_reads_no_image(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config.sheet_cases = 0
    text = written(config, capsys)
    assert faults(text) == [] and "No case was drawn" in text and "not drawn;" not in text


def test_a_run_that_has_just_begun_is_linked(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config.sheet_cases = 0
    folder = folders_of(config.paths, config.project).checkpoints / "plan1 & co"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("plan_name: plan1\nfold: 1\nspacing: [1, 1, 3]\ntrainer: {seed: 4}\n")
    (folder / "metrics.csv").write_text("epoch,train/loss,val/dice\n0,1.5,\n")
    (folder / "alarms.json").write_text(json.dumps([{"name": "flat loss", "subject": ""}]))
    config.run = "plan1 & co"
    text = written(config, capsys)
    assert faults(text) == []
    page = Page(text)
    facts = dict(zip(*([page.words[i] for i, _ in page.named(tag)] for tag in ("dt", "dd")), strict=True))
    assert facts["fold"] == "1" and facts["state"].startswith("interrupted")
    assert facts["No checkpoint is in the folder; train again"] == "fran train project=organs plan=plan1"
    rows = [page.words[i] for i, _ in page.named("tr")]
    assert "spacing[1, 1, 3]" in rows and "trainer.seed4" in rows and "flat loss" in text
    config.run = None
    project = written(config, capsys)
    assert faults(project) == [] and 'href="run_plan1%20%26%20co.html"' in project


def test_a_run_says_what_it_was_made_with(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> None:
    versions = {"python": "3.12.3", "fran": "0.1.0", "torch": "2.8.0", "monai": "1.5.1", "scipy": "1.16"}
    made_with = {"versions": versions, "git_commit": "ab12", "device": "gpu: A100", "precision": "bf16-mixed"}
    folder = folders_of(config.paths, config.project).checkpoints / "tuned"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("plan_name: plan1\ninit_from: former\n")
    write_record(RunRecord(folder, "organs", "plan1", "unet", 0, *"abc", "2026-01-01T00:00:00+00:00", {}, made_with))
    remember_run(folder, "sqlite:///mlflow.db", "7f3e")
    config.run = "tuned"
    page = Page(written(config, capsys))
    facts = dict(zip(*([page.words[i] for i, _ in page.named(tag)] for tag in ("dt", "dd")), strict=True))
    assert facts["made with"] == "fran 0.1.0 (commit ab12), PyTorch 2.8.0, MONAI 1.5.1, Python 3.12.3"
    assert (facts["device"], facts["precision"], facts["started from"]) == ("gpu: A100", "bf16-mixed", "former")
    assert facts["MLflow run"] == "7f3e in sqlite:///mlflow.db"


def test_unknown_runs_are_refused_with_those_that_are_there(config: ReportConfig) -> None:
    for name in ("none", "../../projects/organs/none", "..", "/tmp"):
        config.run = name
        with pytest.raises(StoreError, match="run: expected a run in"):
            report(Job(config, {}, {}, ()))


def test_runs_are_compared_with_what_differs(config: ReportConfig, capsys: pytest.CaptureFixture[str]) -> None:
    runs = folders_of(config.paths, config.project).checkpoints
    for name, rate, better in (("new<1>", 0.02, 0.1), ("old", 0.01, 0.0), ("third", 0.01, 0.0)):
        (runs / name).mkdir(parents=True)
        (runs / name / "config.yaml").write_text(f"plan_name: plan1\ntrainer: {{seed: 4, optimiser: {{lr: {rate}}}}}\n")
        rows = [CaseScore(f"c{i}", label, 0.5 + 0.03 * i + better, 0.5) for i in range(8) for label in ("a", "<b>")]
        write_cases(runs / name / "cases.csv", rows)
    config.compare = ["new<1>", "old", "third"]
    text = written(config, capsys)
    assert faults(text) == []
    page = Page(text)
    rows = [page.words[i] for i, _ in page.named("tr")]
    assert "trainer.optimiser.lr0.020.010.01" in rows and not any("seed" in row for row in rows)
    headings = [page.words[i] for i, _ in page.named("h3")]
    assert headings == ["new<1> less old", "new<1> less third", *STAGES]
    assert text.count("No setting differs.") == 3
    assert {"Dice of a", "Dice of <b>"} <= {page.words[i] for i, _ in page.named("strong")}
    assert text.count("a: Dice +0.100 (95 % interval +0.100 to +0.100; 8 cases, 8 better and 0 worse)") == 2
    config.compare = ["old", str(runs / "third" / "cases.csv")]
    text = written(config, capsys)
    assert faults(text) == [] and "have no settings beside them" in text
    write_cases(runs / "third" / "cases.csv", [CaseScore("other", "a", 0.5)])
    with pytest.raises(DataError, match="nothing in common"):
        report(Job(config, {}, {}, ()))


def test_what_differs_stands_at_every_stage_that_reads_it() -> None:
    one = {"plan_name": "plan1", "spacing": [1, 1, 3], "patch_dim0": 64, "model": {"filters": 8}, "fold": 0}
    two = {"plan_name": "fine", "spacing": [1, 1, 1], "patch_dim0": 32, "model": {"filters": 12}, "fold": 1}
    spacing, patch = ["spacing", "[1, 1, 3]", "[1, 1, 1]"], ["patch_dim0", "64", "32"]
    filters = ["model.filters", "8", "12"]
    assert differing([one, two]) == {
        PREPROCESSING: [spacing],
        NETWORK: [filters],
        TRAINING: [patch],
        INFERENCE: [spacing, patch],
        OTHER: [["plan_name", "plan1", "fine"]],
    }
    assert differing([one | {"mode": "lbd"}, two | {"mode": "lbd"}])[PREPROCESSING] == [spacing, patch]
    assert differing([one, one | {"fold": 3}]) == {stage: [] for stage in STAGES}


def test_settings_that_cannot_work(config: ReportConfig) -> None:
    assert check(config) == []
    config.level, config.samples, config.sheet_cases, config.output = 1.0, 0, -1, "page.txt"
    config.run, config.compare = "a", ["b"]
    assert {problem.key for problem in check(config)} == {"run", "compare", "level", "samples", "sheet_cases", "output"}


@pytest.mark.slow
def test_a_trained_run_has_a_whole_page(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw = make_phantoms(tmp_path / "raw" / "demo", 5, 0, name="demo")
    assert fran("init", "-t", "demo", "-i", str(raw)).returncode == 0
    quick = ("patch_dim0=32", "patch_dim1=16", "spacing=[4,4,6]", "model.filters=4", "trainer.steps_per_epoch=2")
    done = fran("train", *quick, "trainer.max_epochs=2", "trainer.num_workers=0", "tracking.overlay_every=1")
    assert done.returncode == 0, done.stderr
    done = fran("report", "run=plan1-dynunet-f0-1")
    assert done.returncode == 0, done.stderr
    text = Path(done.stdout.strip()).read_text()
    assert faults(text) == [] and 'role="note"' not in text.split("<main>")[0]
    page = Page(text)
    titles = {page.words[i] for i, _ in page.named("strong")}
    assert {"Training loss", "Dice of each label", "Learning rate", "Share of time spent waiting for data"} <= titles
    assert any(title.startswith("1. lowest: demo_") for title in titles)
    assert "fran infer project=demo &#39;runs=[plan1-dynunet-f0-1]&#39;" in text and "finished (max epochs)" in text
    done = fran("report", "sheet_cases=2")
    assert done.returncode == 0, done.stderr
    assert 'href="run_plan1-dynunet-f0-1.html"' in Path(done.stdout.strip()).read_text()
