"""Grids by the command a user types: each combination once, whatever happens in between."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from fran.errors import ConfigError
from fran.tracking.mlflow_logger import client_of, sqlite_uri
from fran.tracking.sweeps import sweeps_in
from fran.workflows.composition import composed
from fran.workflows.schema import register
from fran.workflows.sweep_jobs import override
from fran.workflows.sweep_ray import fitting

from .sweeping import QUICK, QUIET, demo_project, runs, started, trials


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
    best = max(found.values(), key=lambda trial: float(trial["value"]))
    (said,) = re.findall(r"next: (.+)\n +(fran train .+)\n +fran ui project=demo", done.stderr)
    assert said[0].split("  ")[0] == "fran sweep show project=demo sweep=sweep-1"
    assert best["overrides"][0] in said[1]
    assert runs(fran_home) == ["plan1-dynunet-f0-1", "plan1-dynunet-f1-1"]
    logs = [fran_home / "projects" / "demo" / "sweeps" / "sweep-1" / str(n) / "train.log" for n in (0, 1)]
    assert all("ended by max_epochs" in log.read_text() and "next:" not in log.read_text() for log in logs)


@pytest.mark.slow
def test_a_grid_on_a_cluster_of_two_nodes(fran, fran_home: Path, tmp_path: Path, ray_of_two_nodes: str) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path)
    done = fran(
        *("train", "-m", *QUICK, "fold=0,1", "notes=${oc.env:NODE,none}-${oc.env:OMP_NUM_THREADS,none}"),
        *("hydra/launcher=ray", f"hydra.launcher.ray.init.address={ray_of_two_nodes}"),
        *("hydra.launcher.ray.remote.num_cpus=2", "hydra.launcher.ray.init.num_cpus=9"),  # sizes are the cluster's own
        **QUIET,
    )
    assert done.returncode == 0, done.stderr
    found = trials(fran_home)
    assert {n: (t["state"], t["attempts"]) for n, t in found.items()} == {0: ("finished", 1), 1: ("finished", 1)}
    assert len({t["process"] for t in found.values()}) == 2
    for number, trial in found.items():
        run = f"plan1-dynunet-f{number}-1"
        assert trial["run"] == run
        folder = fran_home / "projects" / "demo" / "sweeps" / "sweep-1" / str(number)
        log = (folder / "train.log").read_text()
        assert f"run {run}" in log and "ended by max_epochs" in log
        snapshot = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
        assert (snapshot["fold"], snapshot["sweep"]) == (number, "sweep-1")
        assert f"fold={number}" in (folder / ".hydra" / "overrides.yaml").read_text()
        # two CPUs are on the second node alone, and a job computes with as many threads
        trained = yaml.safe_load((fran_home / "cold" / "checkpoints" / "demo" / run / "config.yaml").read_text())
        assert trained["notes"] == "second-2"


@pytest.mark.slow
def test_two_sweeps_at_once_do_not_disturb_each_other(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path)
    tracked = [o for o in QUICK if o != "tracking=none"] + ["tracking.overlay_every=0"]
    rates = {"low": ("0.01", "0.02"), "high": ("0.03", "0.04")}
    logs = {name: tmp_path / f"{name}.log" for name in rates}
    with ExitStack() as both:
        processes = {}
        for name, values in rates.items():
            swept = f"trainer.optimiser.lr={','.join(values)}"
            processes[name] = both.enter_context(started("-m", *tracked, swept, home=fran_home, log=logs[name]))
        for name, process in processes.items():
            assert process.wait(900) == 0, logs[name].read_text()

    sweeps = {s.name: s for s in sweeps_in(fran_home / "projects" / "demo" / "sweeps")}
    assert sorted(sweeps) == ["sweep-1", "sweep-2"]
    found = {name: trials(fran_home, name) for name in sweeps}
    tried = {tuple(t["overrides"][0].rpartition("=")[2] for t in own.values()) for own in found.values()}
    assert tried == set(rates.values())
    every = [trial for own in found.values() for trial in own.values()]
    assert [(t["state"], t["attempts"]) for t in every] == [("finished", 1)] * 4
    assert sorted(t["run"] for t in every) == runs(fran_home) == [f"plan1-dynunet-f0-{n}" for n in (1, 2, 3, 4)]
    assert sum(log.read_text().count("5 cases preprocessed") for log in logs.values()) == 1

    client = client_of(sqlite_uri(fran_home / "projects" / "demo" / "mlflow.db"))
    (experiment,) = [e.experiment_id for e in client.search_experiments() if e.name == "demo"]
    stored = client.search_runs([experiment])
    assert {run.info.status for run in stored} == {"FINISHED"}
    parents = {run.info.run_name: run.info.run_id for run in stored if run.data.tags.get("fran.kind") == "sweep"}
    children = {
        run.info.run_name: run.data.tags["mlflow.parentRunId"]
        for run in stored
        if "mlflow.parentRunId" in run.data.tags
    }
    assert parents.keys() == sweeps.keys()
    assert children == {t["run"]: parents[name] for name, own in found.items() for t in own.values()}
    assert len(stored) == 6 and all("val/dice" in r.data.metrics for r in stored if r.info.run_name in children)


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


def test_a_launcher_of_ones_own_builds_on_rays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    mine = tmp_path / "conf" / "hydra" / "launcher" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("defaults: [ray, _self_]\nray:\n  remote: {num_cpus: 4}\n")
    monkeypatch.setenv("FRAN_CONF", str(tmp_path))
    register()
    launcher = composed("train", ["hydra/launcher=mine"]).hydra.launcher
    assert launcher["_target_"].endswith("RayLauncher")
    assert launcher.ray.remote == {"num_cpus": 4, "num_gpus": None, "max_calls": 1, "max_retries": 0}
