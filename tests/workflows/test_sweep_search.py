"""Searches: spaces, draws, and trials that survive whatever is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fran.errors import ConfigError, SettingsFailed
from fran.excel.importer import import_workbook
from fran.excel.write import write_files
from fran.tuning.domains import Choice, LogUniform, RandInt, Range, Uniform
from fran.tuning.settings import SearchSettings
from fran.workflows.import_excel import shipped_options
from fran.workflows.sweep_search import SHOWN_DRAWS, first_draws, settings_of, space_of

from .sweeping import QUICK, QUIET, demo_project, runs, started, trials, wait_until

SPACE = """
trainer.optimiser.lr: {domain: loguniform, low: 0.001, high: 0.1}
model.deep_supervision: {domain: choice, options: [0, 1]}
patch_dim0: {domain: choice, options: [32, 48]}
"""
SEARCH = ("train", "-m", *QUICK, "hydra/sweeper=ray_tune", "hydra.launcher.ray.init.num_cpus=2")


def _swept(*lines: str) -> Any:
    return OverridesParser.create().parse_overrides(list(lines))


def test_the_command_line_states_domains_too(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("a: {domain: uniform, low: 0, high: 1}\nb: {domain: uniform, low: 0, high: 1, tune: false}\n")
    lines = ("model=dynunet,'x y',3", "lr=tag(log,interval(1e-4,1e-2))", "u=interval(0,2)", "n=range(1,4)")
    space = space_of(str(file), _swept(*lines, "m=range(0,1,0.25)", "flip_p=[0,0.5],[1,null]", "b=choice(7,8)"))
    assert {key: entry.domain for key, entry in space.entries.items()} == {
        "a": Uniform(0, 1),
        "b": Choice((7, 8)),
        "model": Choice(("dynunet", "x y", 3)),
        "lr": LogUniform(1e-4, 1e-2),
        "u": Uniform(0, 2),
        "n": RandInt(1, 4),
        "m": Range(0, 0.75, 0.25),
        "flip_p": Choice(((0, 0.5), (1, None))),
    }
    assert all(entry.tune for entry in space.entries.values())


def test_spaces_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a space"):
        space_of(None, [])
    with pytest.raises(ConfigError, match="file of conf/space, found 'lr'"):
        space_of("lr", [])
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("a: {domain: unifrom}")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: a: unknown domain"):
        space_of(str(wrong), [])


def test_settings_of_a_search_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean 'trials'"):
        settings_of({"trails": 3})
    impossible = SearchSettings(trials=0, mode="best", sampler="radnom", scheduler="asah", factor=1, metric="dice")
    with pytest.raises(SettingsFailed) as caught:
        impossible.check()
    for words in (
        "hydra.sweeper.trials",
        "max, min",
        "did you mean 'random'",
        "did you mean 'asha'",
        "val/dice_tumour",
    ):
        assert words in str(caught.value)


LEGACY = (
    Path(os.environ.get("FRAN_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data").parent
    / "legacy"
)
WORKBOOKS = sorted((LEGACY / "workbooks").glob("*.xlsx"))


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("workbook", WORKBOOKS or [None], ids=lambda path: path.stem if path else "none")
def test_every_space_of_the_old_workbooks_can_be_started(
    workbook: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if workbook is None:
        pytest.skip(f"no old workbooks in {LEGACY}")
    write_files(import_workbook(workbook, shipped_options()), tmp_path)
    monkeypatch.setenv("FRAN_CONF", str(tmp_path))
    spaces = sorted((tmp_path / "conf" / "space").glob("*.yaml"))
    assert spaces
    common = ("project=demo", f"preset={workbook.stem}", "datasources=null")  # the preset chooses the plan
    for space in spaces:
        searched = space_of(space.stem, [])
        draws = first_draws(searched, SearchSettings(), common)
        assert [reason for _, reason in draws] == [""] * SHOWN_DRAWS, space
        tuned = {key for key, entry in searched.entries.items() if entry.tune}
        assert tuned and all({one.partition("=")[0] for one in own} == tuned for own, _ in draws)
        assert len({tuple(own) for own, _ in draws}) == SHOWN_DRAWS


@pytest.mark.slow
def test_a_dry_run_lists_the_first_draws(fran, fran_home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    demo_project(fran, tmp_path)
    space = tmp_path / "space.yaml"
    space.write_text(
        "trainer.optimiser.lr: {domain: loguniform, low: 0.001, high: 0.1}\n"
        "patch_dim0: {domain: choice, options: [32, 33]}\n"
    )
    done = fran(*SEARCH, f"search={space}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sweep-1: 20 trials; the first draws\n")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()[2:7]]
    assert [row[0] for row in rows] == list("01234")
    judged = {"patch_dim0=33" in row[2]: row[1] for row in rows}
    assert judged == {True: "no:", False: "yes"}, done.stdout
    assert not (fran_home / "projects" / "demo" / "sweeps" / "sweep-1").exists()


@pytest.mark.slow
def test_a_search_stops_what_is_not_good_enough_and_takes_up_what_was_killed(
    fran: Any, fran_home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    demo_project(fran, tmp_path)
    space, log = tmp_path / "space.yaml", tmp_path / "log"
    space.write_text(SPACE)
    long = ("trainer.max_epochs=30", "trainer.steps_per_epoch=10")
    search = (*SEARCH, *long, f"search={space}", "hydra.sweeper.trials=3")

    # the sweep itself
    with started(*search[1:], home=fran_home, log=log) as process:
        wait_until(lambda: any(t["epochs"] >= 2 for t in trials(fran_home).values()), "the second epoch")
        process.kill()
    drawn = {n: t["overrides"] for n, t in trials(fran_home).items()}

    # then a trial
    with started(*search[1:], home=fran_home, log=log) as process:
        wait_until(lambda: trials(fran_home)[0]["attempts"] == 2 and trials(fran_home)[0]["epochs"] >= 3, "going on")
        os.kill(int(trials(fran_home)[0]["process"].rpartition(":")[2]), signal.SIGKILL)
        assert process.wait(900) == 1, log.read_text()
    found = trials(fran_home)
    assert {n: t["state"] for n, t in found.items()} == {0: "killed", 1: "finished", 2: "finished"}, log.read_text()

    # then by Ctrl-C
    with started(*search[1:], home=fran_home, log=log) as process:
        wait_until(lambda: trials(fran_home)[0]["attempts"] == 3 and trials(fran_home)[0]["epochs"] >= 4, "going on")
        process.send_signal(signal.SIGINT)
        assert process.wait(600) == 130, log.read_text()
    assert trials(fran_home)[0]["state"] in ("interrupted", "finished")

    done = fran(*search, **QUIET, timeout=900)
    assert done.returncode == 0, done.stderr
    after = trials(fran_home)
    assert {t["state"] for t in after.values()} == {"finished"}
    assert {n: t["overrides"] for n, t in after.items() if n in drawn} == drawn
    assert [after[n]["attempts"] for n in (1, 2)] == [found[n]["attempts"] for n in (1, 2)]
    assert {t["epochs"] for t in after.values()} == {30}
    assert len(runs(fran_home)) == 3, "each trial went on in its own run"

    # a larger budget keeps the trials, and those that are worse than them end early
    more = fran(
        *search[:-1], "hydra.sweeper.trials=5", "hydra.sweeper.scheduler=asha", "hydra.sweeper.grace=1", **QUIET
    )
    assert more.returncode == 0, more.stderr
    last = trials(fran_home)
    assert len(last) == 5
    assert [last[n]["attempts"] for n in range(3)] == [after[n]["attempts"] for n in range(3)]
    early = [t for t in last.values() if t["state"] == "stopped"]
    assert all(t["epochs"] < 30 and "go on" in t["reason"] for t in early)
