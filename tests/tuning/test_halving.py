from __future__ import annotations

import math

from fran.tuning.halving import Halving


def test_the_better_third_goes_on_at_each_rung() -> None:
    rule = Halving(grace=1, factor=3)
    values = [0.5, 0.1, 0.9, 0.2, 0.8, 0.3]
    stopped = {n for n, value in enumerate(values) if rule.judge(n, 1, value)}
    # nobody before the third; then the best ceil(n / 3) of those that were there
    assert stopped == {3, 5}
    assert rule.judge(0, 3, 0.5) is None
    assert rule.judge(4, 3, 0.4) is None
    assert rule.judge(2, 3, 0.9) is None
    assert rule.judge(6, 3, 0.81) is None
    assert rule.judge(7, 2, 0.805) is None
    assert rule.judge(7, 4, 0.7) == "0.805 after 3 epochs: 3rd of 5 trials, the best 2 go on"


def test_a_trial_is_judged_by_its_best_value_so_far() -> None:
    rule = Halving(grace=4, factor=2)
    assert rule.judge(0, 4, 0.5) is None
    assert rule.judge(1, 2, 0.7) is None
    assert rule.judge(1, 5, 0.1) is None
    assert rule.judge(2, 4, 0.6) is None  # 2nd of 3: ceil(3 / 2) go on
    assert rule.judge(3, 4, 0.4) is not None


def test_smaller_may_be_better_and_nan_is_worst() -> None:
    rule = Halving(grace=1, factor=2, largest=False)
    assert rule.judge(0, 1, 0.1) is None
    assert rule.judge(1, 1, math.nan) is not None
    assert rule.judge(2, 1, 0.05) is None


def test_rungs_that_an_interval_of_validation_skips_are_taken_at_the_next_report() -> None:
    rule = Halving(grace=1, factor=2)
    for trial, value in enumerate((0.9, 0.8)):
        rule.judge(trial, 10, value)
    assert rule.judge(2, 10, 0.1) is not None
    assert rule.judge(2, 10, 0.1) is None, "each rung counts once"
