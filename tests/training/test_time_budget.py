"""`trainer.max_time` holds the last validation too. The clock is made: a step takes 1 s, a validated case 4 s."""

from __future__ import annotations

from functools import partial

import pytest
from pytorch_lightning.callbacks import Callback

import fran.training.fit as fitting
from fran.io.checkpoint import read_checkpoint
from fran.networks.tiling import Tiling
from fran.training.last_validation import TILE_SHARE, count_tiles
from fran.training.schedule import Budget

STEP_S, CASE_S = 1.0, 4.0


class Clock(Callback):
    """Time passes by steps and validated cases alone; remembers when each validation began and ended."""

    def __init__(self) -> None:
        self.now, self.steps = 0.0, 0
        self.rates: list[float] = []
        self.validations: list[tuple[int, float, float]] = []

    def __call__(self) -> float:
        return self.now

    def on_train_batch_end(self, trainer, *_: object) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.now, self.steps = self.now + STEP_S, self.steps + 1

    def on_validation_start(self, trainer, *_: object) -> None:
        self.validations.append((trainer.current_epoch, self.now, self.now))

    def on_validation_batch_end(self, *_: object) -> None:
        self.now += CASE_S
        self.validations[-1] = (*self.validations[-1][:2], self.now)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(fitting, "Budget", partial(Budget, clock=made))
    return made


def n_val(spec) -> int:
    return len(spec.data.val_ids)


def test_what_the_validation_before_took_is_left_for_the_last_one(make_spec, clock):
    spec = make_spec(max_epochs=1000, steps_per_epoch=10, val_every_n_epochs=2, max_time="60")
    val_s = CASE_S * n_val(spec)
    assert val_s == 8
    result = fitting.fit(spec, callbacks=[clock])
    assert result.stopped_by == "max_time"
    assert 60 <= result.elapsed_s <= 60 + STEP_S
    # at the end of the fourth epoch, 48 s, there would be no step left between two validations
    assert [epoch for epoch, _, _ in clock.validations] == [1, result.epochs - 1] == [1, 4]
    assert clock.rates[-1] < 0.05 * max(clock.rates), "the schedule ends with the steps"
    kept = read_checkpoint(result.last)["callbacks"]["LastValidation"]
    assert kept == {"reserve_s": val_s, "measured": True}


def test_before_any_validation_steps_tell_what_one_will_take(make_spec, manifest, clock):
    spec = make_spec(max_epochs=1000, steps_per_epoch=10, val_every_n_epochs=500, max_time="40")
    shapes = [manifest.cases[case_id].shape for case_id in spec.data.val_ids]
    tiles = sum(Tiling.of(shape, spec.patch_size, spec.trainer.val_overlap).n_tiles for shape in shapes)
    expected = TILE_SHARE * STEP_S * tiles / spec.trainer.batch_size
    assert 2 < expected < 20
    fitting.fit(spec, callbacks=[clock])
    [(_, began, _)] = clock.validations
    assert 40 - expected <= began <= 40 - expected + 2 * STEP_S


def test_a_resumed_training_knows_what_validation_took(make_spec, clock):
    first = make_spec(max_epochs=2, steps_per_epoch=5, val_every_n_epochs=1, max_time="1000")
    fitting.fit(first, callbacks=[clock])
    before = clock.now
    more = make_spec(max_epochs=1000, steps_per_epoch=5, val_every_n_epochs=500, max_time=str(before + 20))
    fitting.fit(more, callbacks=[clock], resume=first.run_folder)
    assert before + 20 <= clock.now <= before + 20 + STEP_S
    assert len(clock.validations) == 3


def test_a_validation_longer_than_the_budget_is_said_and_leaves_a_fifth_to_steps(make_spec, clock, caplog):
    spec = make_spec(max_epochs=1000, steps_per_epoch=5, val_every_n_epochs=500, max_time="8", val_overlap=0.9)
    fitting.fit(spec, callbacks=[clock])
    assert "trainer.max_time: the last validation alone will take about" not in caplog.text  # too few steps to tell
    assert clock.steps == 3
    spec = make_spec(name="longer", max_epochs=1000, steps_per_epoch=50, max_time="40", val_overlap=0.95)
    fitting.fit(spec, callbacks=[clock])
    assert "trainer.max_time: the last validation alone will take about" in caplog.text


def test_a_training_without_validation_takes_all_of_the_time(make_spec, clock):
    result = fitting.fit(make_spec(max_epochs=1000, val_every_n_epochs=0, max_time="30"), callbacks=[clock])
    assert clock.validations == [] and 30 <= result.elapsed_s <= 30 + STEP_S


def test_progress_ends_where_steps_end():
    now = [0.0]
    budget = Budget(1000, 50.0, reserve_s=10.0, clock=lambda: now[0])
    budget.start()
    now[0] = 20.0
    assert budget.progress(1) == pytest.approx(0.5)
    now[0] = 40.0
    assert budget.progress(1) == 1.0
    assert Budget(1000, 50.0, reserve_s=60.0).steps_end_s == pytest.approx(10.0)
    assert Budget(100).progress(50) == 0.5


def test_tiles_are_those_of_validation():
    assert count_tiles([(48, 16, 16), (24, 16, 8)], (24, 16, 16), 0.5) == 3 + 1
