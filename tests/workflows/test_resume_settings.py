"""A run that is resumed has its own settings and its own plan, wherever that plan was."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.io.files import write_json
from fran.workflows import train
from fran.workflows.entry import compose_job
from fran.workflows.schema import TrainConfig
from tests.conftest import Fran

from .sweeping import QUICK, demo_project


@pytest.mark.slow
def test_a_run_of_a_plan_of_ones_own_goes_on_with_that_plan(fran: Fran, tmp_path: Path) -> None:
    demo_project(fran, tmp_path)
    mine = tmp_path / "conf" / "plan" / "plan1.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\nplan_name: plan1\nmode: source\ndatasources: [elsewhere]\n")
    with_mine = ("--config-dir", str(tmp_path / "conf"))
    refused = fran("train", *with_mine, *QUICK)
    assert refused.returncode == 2 and "datasources=null takes all of the project" in " ".join(refused.stderr.split())
    begun = fran("train", *with_mine, *QUICK, "datasources=null", "run=mine")
    assert begun.returncode == 0, begun.stderr

    going_on = ("project=demo", "resume=mine", "trainer.max_epochs=2")
    without = fran("train", *going_on)
    assert without.returncode == 2
    assert f"fran train --config-dir {tmp_path / 'conf'} project=demo resume=mine" in " ".join(without.stderr.split())
    wrong = fran("train", *with_mine, *going_on[:2], "trainer.max_epochs=-1")
    assert wrong.returncode == 2 and "expected 1 or more" in wrong.stderr
    resumed = fran("train", *with_mine, *going_on)
    assert resumed.returncode == 0 and "2 epochs" in resumed.stderr, resumed.stderr


def test_a_trial_that_goes_on_keeps_the_batch_size_that_was_found(fran_home: Path, tmp_path: Path) -> None:
    write_json(tmp_path / train.OVERRIDES, ["project=demo", "trainer.batch_size=7"])
    typed = ["project=demo", "trainer.batch_size=2", "find_batch_size=true", "trainer.max_epochs=3"]
    again = train._as_before(compose_job("train", TrainConfig, typed), tmp_path)
    assert (again.config.trainer.batch_size, again.config.find_batch_size) == (7, False)
    assert again.config.trainer.max_epochs == 3
    assert not [o for o in again.overrides if "find" in o], "nor is it searched for by a later resume"


@pytest.mark.slow
def test_a_space_is_for_a_search(fran: Fran, tmp_path: Path) -> None:
    demo_project(fran, tmp_path, 2)
    done = fran("train", "project=demo", "search=lr", "--dry-run")
    assert done.returncode == 2
    assert "fran train -m hydra/sweeper=ray_tune search=lr" in " ".join(done.stderr.split())
