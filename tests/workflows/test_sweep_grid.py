"""Grids by the command a user types: each combination once, whatever happens in between."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fran.errors import ConfigError
from fran.workflows.composition import composed
from fran.workflows.schema import register
from fran.workflows.sweep_ray import fitting
from fran.workflows.sweeps import override

from .sweeping import QUICK, QUIET, demo_project, runs, trials


@pytest.mark.parametrize(
    "value",
    [
        1,
        1e-5,
        True,
        None,
        "dynunet",
        "true",
        "null",
        "",
        "/a b/c",
        "it's",
        "a\\",
        "a\\'b",
        "3",
        [0.5, None, "x y"],
        {"a": [1, {"b": "c"}]},
    ],
)
def test_values_survive_hydras_grammar(value: object) -> None:
    parsed = OverridesParser.create().parse_override(override("key", value))
    assert parsed.value() == value
    assert type(parsed.value()) is type(value)


BIG, SMALL = {"CPU": 16.0, "GPU": 2.0}, {"CPU": 64.0}


def test_what_no_machine_has_is_refused() -> None:
    assert fitting({}, [SMALL]) == {"num_cpus": 1, "num_gpus": 0}
    assert fitting({"num_cpus": 8, "max_calls": 1}, [BIG, SMALL]) == {"num_cpus": 8, "num_gpus": 1, "max_calls": 1}
    assert fitting({"num_cpus": 64, "num_gpus": 0}, [BIG, SMALL])["num_gpus"] == 0
    for asked, words in (
        ({"num_gpus": 4}, r"ray\.remote\.num_gpus: expected at most 2,.* found 4"),
        ({"num_cpus": 65}, r"ray\.remote\.num_cpus: expected at most 64,.* found 65"),
        ({"num_cpus": 32, "num_gpus": 1}, r"expected what one machine of the cluster has, found 32 CPU, 1 GPU"),
        ({"resources": {"scanner": 1}}, r"resources\.scanner: expected at most 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            fitting(asked, [BIG, SMALL])


@pytest.mark.slow
def test_a_grid_keeps_what_is_done_and_lists_what_failed(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path)
    swept = ("train", "-m", *QUICK, "trainer.optimiser.lr=0.01,1e30", "model=dynunet,swinunetr")
    planned = fran(*swept, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert len(re.findall(r"new +train ", planned.stdout)) == 4
    assert not (fran_home / "projects" / "demo" / "sweeps" / "sweep-1").exists()

    done = fran(*swept)
    found = trials(fran_home)
    assert done.returncode == 1
    assert {n: t["state"] for n, t in found.items()} == {0: "finished", 1: "failed", 2: "diverged", 3: "failed"}
    assert "2 of 4 trials failed" in done.stderr
    assert "patch" in found[1]["reason"]
    assert found[0]["overrides"] == ["trainer.optimiser.lr=0.01", "model=dynunet"]
    assert found[0]["value"] > 0
    folder = fran_home / "projects" / "demo" / "sweeps" / "sweep-1" / "0"
    assert "model=dynunet" in (folder / ".hydra" / "overrides.yaml").read_text()
    assert "run plan1-dynunet-f0-1" in (folder / "train.log").read_text()
    assert "Traceback" not in done.stderr

    before = runs(fran_home)
    again = fran(*swept)
    assert again.returncode == 1
    assert runs(fran_home) == before
    assert {n: t["attempts"] for n, t in trials(fran_home).items()} == {0: 1, 1: 2, 2: 1, 3: 2}

    named = fran("train", "-m", *QUICK, "fold=0,1", "run=x")
    assert named.returncode == 2
    assert "run: expected null in a sweep" in named.stderr


@pytest.mark.slow
def test_a_grid_on_ray(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("ray")
    demo_project(fran, tmp_path)
    swept = ("train", "-m", *QUICK, "fold=0,1", "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")
    greedy = fran(*swept, "hydra.launcher.ray.remote.num_gpus=1", **QUIET)
    assert greedy.returncode == 2
    assert "hydra.launcher.ray.remote.num_gpus: expected at most 0" in greedy.stderr
    done = fran(*swept, **QUIET)
    assert done.returncode == 0, done.stderr
    found = trials(fran_home)
    assert [found[n]["state"] for n in (0, 1)] == ["finished", "finished"]
    assert runs(fran_home) == ["plan1-dynunet-f0-1", "plan1-dynunet-f1-1"]
    logs = [fran_home / "projects" / "demo" / "sweeps" / "sweep-1" / str(n) / "train.log" for n in (0, 1)]
    assert all("ended by max_epochs" in log.read_text() for log in logs)


def test_launchers_compose_with_their_settings() -> None:
    pytest.importorskip("ray")
    pytest.importorskip("submitit")
    slurm = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1"]
    register()
    launcher = composed("train", [*slurm, "hydra.launcher.timeout_min=1440"]).hydra.launcher
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gpus_per_node, launcher.timeout_min) == ("gpu", 1, 1440)
    searched = composed("train", ["hydra/sweeper=ray_tune", "hydra.launcher.ray.remote.num_gpus=0.5"]).hydra
    assert searched.launcher.ray.remote == {"num_cpus": 1, "num_gpus": 0.5, "max_calls": 1, "max_retries": 0}
    assert searched.sweeper.trials == 20
