from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fran.tuning.draws import OptunaSampler, RandomSampler
from fran.tuning.space import Space

SPACE = Space.from_yaml(
    """
lr: {domain: loguniform, low: 0.0001, high: 1}
width: {domain: choice, options: [[1, 2], wide, null]}
steps: {domain: qrandint, low: 4, high: 12, q: 4}
range: {domain: double_range, low: [0, 1], high: [2, 3]}
again: {domain: spec, of: lr, plus: [0.1, 0.2]}
"""
)


def _loss(values: dict[str, Any]) -> float:
    return float(abs(np.log10(values["lr"]) + 2) + (values["width"] != "wide"))


def test_a_random_draw_depends_on_its_number_alone() -> None:
    first, second = RandomSampler(SPACE, 3), RandomSampler(SPACE, 3)
    second.draw(0)
    assert first.draw(5) == second.draw(5)
    assert first.draw(5) != first.draw(6)
    assert first.draw(5) != RandomSampler(SPACE, 4).draw(5)


def test_optuna_draws_from_every_domain_and_learns() -> None:
    pytest.importorskip("optuna")
    sampler = OptunaSampler(SPACE, 0, largest=False)
    losses = []
    for number in range(40):
        values, remembered = sampler.draw(number)
        assert 1e-4 <= values["lr"] <= 1
        assert values["width"] in ([1, 2], "wide", None)
        assert values["steps"] in (4, 8, 12)
        assert 0 <= values["range"][0] <= 1 and 2 <= values["range"][1] <= 3
        assert 0.1 - 1e-9 <= values["again"] - values["lr"] <= 0.2 + 1e-9
        losses.append(_loss(values))
        sampler.tell(remembered, losses[-1], early=False)
    assert np.mean(losses[20:]) < 0.6 * np.mean(losses[:10])


def test_optuna_learns_from_what_another_process_wrote_down() -> None:
    pytest.importorskip("optuna")
    before = OptunaSampler(SPACE, 0)
    told = [(remembered, -_loss(values)) for values, remembered in map(before.draw, range(12))]
    after = OptunaSampler(SPACE, 1)
    for number, (remembered, value) in enumerate(json.loads(json.dumps(told))):
        after.tell(remembered, None if number == 0 else value, early=number == 1)
    after.tell(None, 1.0, early=False)
    states = [trial.state.name for trial in after.study.get_trials()]
    assert states == ["FAIL", "PRUNED", *["COMPLETE"] * 10]
    assert after.study.best_value == max(value for _, value in told[2:])
    _, remembered = after.draw(12)
    after.tell(remembered, 0.5, early=True)
    assert after.study.get_trials()[-1].state.name == "PRUNED"
