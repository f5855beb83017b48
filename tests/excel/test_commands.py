"""`fran import-excel` and `fran export-excel` as commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fran.workflows.composition import composed
from fran.workflows.locations import prefer_config_dir, user_conf_dirs
from fran.workflows.schema import register
from tests.excel.conftest import SHEETS, SINGLE, Book, plans_table


def test_from_a_workbook_to_a_composed_plan(fran, book: Book, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "my_conf"
    done = fran("import-excel", str(book(SHEETS)), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert f"next: fran train --config-dir {out}/conf plan=plan1 --cfg job" in done.stdout
    assert f"fran preprocess --config-dir {out}/conf project=<title> plan=plan1" in done.stdout
    job = fran("train", "--config-dir", str(out / "conf"), "plan=plan2", "--cfg", "job", "--resolve")
    assert job.returncode == 0, job.stderr
    assert "plan_name: plan2" in job.stdout
    assert "TSL.all:TSL.label_minimal" in job.stdout
    preset = fran("train", "--config-dir", str(out), "preset=book", "project=_new", "project.title=x", "--cfg", "job")
    assert preset.returncode == 0, preset.stderr
    assert "batch_size: 10" in preset.stdout
    assert "_target_: fran.networks.unet.resunet" in preset.stdout
    assert "plan_name: plan2" in preset.stdout, "dataset_params.plan_train"


def test_json_and_where_the_report_goes(fran, book: Book, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report = tmp_path / "what.md"
    done = fran("import-excel", str(book(SINGLE)), "--out", str(tmp_path / "o"), "--report", str(report), "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads(report.with_suffix(".json").read_text())
    assert printed["plans"] == ["liver_plan4", "liver_plan5", "kidneys_plan4"]
    assert not (tmp_path / "o" / "import_report.md").exists()


def test_what_is_wrong_is_one_table_without_a_traceback(fran, book: Book, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = book(plans_table((1, "lbd", "1,1,1"), (2, "lbdd", "1,1,1"), (3, "pbd", "1,1", 9)))
    done = fran("import-excel", str(path), "--out", str(tmp_path / "o"))
    assert done.returncode == 1
    assert "3 errors, 0 warnings" in done.stderr
    for cell in ("plans!B3", "plans!C4", "plans!D4"):
        assert cell in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "o/conf/plan/plan1.yaml").exists()
    assert not (tmp_path / "o/conf/plan/plan2.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--help"], 0, "import_report.md"),
        ([], 2, "required"),
        (["missing.xlsx", "--out", "o"], 1, "no such file"),
        (["missing.xlsx", "--out", "o", "--fast"], 2, "unrecognized"),
    ],
)
def test_arguments(fran, arguments: list[str], status: int, words: str) -> None:  # type: ignore[no-untyped-def]
    done = fran("import-excel", *arguments)
    assert done.returncode == status
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_out_that_is_a_file(fran, book: Book, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "o").touch()
    done = fran("import-excel", str(book(SHEETS)), "--out", str(tmp_path / "o"))
    assert (done.returncode, "found a file" in done.stderr) == (2, True)


def test_export_and_import_again(fran, book: Book, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out, back = tmp_path / "o", tmp_path / "back" / "book.xlsx"
    fran("import-excel", str(book(SINGLE)), "--out", str(out))
    done = fran("export-excel", str(out), "--out", str(back))
    assert done.returncode == 0, done.stderr
    assert "3 plans" in done.stdout
    again = fran("import-excel", str(back), "--out", str(out))
    assert "0 written" in again.stdout, again.stdout
    wrong = fran("export-excel", str(out), "--out", "book.csv")
    assert (wrong.returncode, ".xlsx" in wrong.stderr) == (2, True)


def test_the_folder_of_the_command_line_wins_over_shipped_files(
    fran_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "mine" / "conf" / "plan" / "plan1.yaml"
    plan.parent.mkdir(parents=True)
    plan.write_text("# @package _global_\nplan_name: plan1\nspacing: [9.0, 9.0, 9.0]\n")
    monkeypatch.setenv("FRAN_CONF", str(tmp_path / "other"))
    register()
    prefer_config_dir(["plan=plan1", f"--config-dir={tmp_path / 'mine'}"])
    assert user_conf_dirs() == [tmp_path / "mine" / "conf"]
    assert OmegaConf.to_container(composed("train", ["plan=plan1"]).spacing) == [9.0, 9.0, 9.0]


def test_importing_needs_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('hydra', 'omegaconf', 'torch', 'ray')));"
        "import fran.workflows.import_excel, fran.workflows.export_excel"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
