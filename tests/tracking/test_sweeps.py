"""The files of a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fran.errors import ConfigError, StoreError
from fran.tracking import sweeps
from fran.tracking.sweeps import Sweep, find_sweep, read_trial, sweep_for, trial_key, trial_lock, write_trial

WHAT = {"overrides": ["plan=plan1"], "differing": {"fold": ["0", "1"]}}


def _sweep(folder: Path, what: Any = WHAT, name: str | None = None) -> Sweep:
    return sweep_for(folder, "grid", what, name=name, metric="val/dice", mode="max", command="fran train -m")


def test_equal_commands_are_one_sweep_and_a_name_is_of_one_thing(tmp_path: Path) -> None:
    first = _sweep(tmp_path)
    other = {**WHAT, "differing": {"fold": ["0", "1", "2"]}}
    assert [first.name, _sweep(tmp_path).name, _sweep(tmp_path, other).name] == ["sweep-1", "sweep-1", "sweep-2"]
    assert _sweep(tmp_path, name="mine").name == "mine"
    assert find_sweep(tmp_path, None).name == "mine"
    with pytest.raises(ConfigError, match=r"differing\.fold"):
        _sweep(tmp_path, other, name="mine")
    with pytest.raises(StoreError, match="did you mean 'sweep-2'"):
        find_sweep(tmp_path, "sweep2")


def test_a_trial_is_known_by_what_decides_it() -> None:
    config = {"fold": 0, "trainer": {"threads": 1}, "tracking": {"uri": "a"}, "run": None, "sweep": "x"}
    same = {**config, "tracking": {"uri": "b"}, "sweep": "y"}
    assert trial_key(config, "dynunet") == trial_key(same, "dynunet")
    others = [trial_key(config, "unet"), trial_key({**config, "fold": 1}, "dynunet")]
    others.append(trial_key({**config, "trainer": {"threads": 2}}, "dynunet"))
    assert trial_key(config, "dynunet") not in others
    assert len(set(others)) == 3


def test_a_trial_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    sweep = _sweep(tmp_path)
    trial = sweep.add("k", ["fold=0"])
    with trial_lock(trial):
        write_trial(trial.begun())
        assert [t.state for t in sweep.trials()] == [sweeps.RUNNING]
    assert [t.state for t in sweep.trials()] == [sweeps.KILLED]
    write_trial(read_trial(trial.folder).ended(sweeps.FINISHED))
    assert [(t.state, t.attempts) for t in sweep.trials()] == [(sweeps.FINISHED, 1)]


def test_two_commands_do_not_run_one_sweep(tmp_path: Path) -> None:
    sweep = _sweep(tmp_path)
    with sweep.running():
        assert sweep.is_running()
        with pytest.raises(StoreError, match="being run by another process"), sweep.running():
            pass
        sweep.stop("SIGINT")
        assert sweep.stopping
    with sweep.running():
        assert not sweep.stopping, "an old request is forgotten"


def test_figures_come_from_the_table_of_metrics(tmp_path: Path) -> None:
    sweep = _sweep(tmp_path / "sweeps")
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,elapsed_s,val/dice\n1,2,1.5,\n2,4,3.0,0.5\n3,6,4.5,nan\n4,8,6.0,0.4\n")
    best = sweeps.with_figures(sweep.add("k", []), table, "val/dice", "max")
    assert (best.value, best.epoch, best.epochs, best.elapsed_s) == (0.5, 2, 4, 6.0)
    smallest = sweeps.with_figures(best, table, "val/dice", "min")
    assert (smallest.value, smallest.epoch) == (0.4, 4)


def test_the_best_comes_first_and_what_did_not_end_has_no_rank(tmp_path: Path) -> None:
    sweep = _sweep(tmp_path)
    values = [(0.2, sweeps.FINISHED), (0.9, sweeps.DIVERGED), (0.5, sweeps.STOPPED), (None, sweeps.FINISHED)]
    made = [replace(sweep.add(str(n), []), value=v, state=state) for n, (v, state) in enumerate(values)]
    assert [t.number for t in sweep.ranked(made)] == [2, 0]
    assert [t.number for t in replace(sweep, mode="min").ranked(made)] == [0, 2]
