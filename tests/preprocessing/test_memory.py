from __future__ import annotations

from fran.preprocessing.memory import case_bytes, fitting_processes, free_memory, usable_cores


def test_finer_and_larger_cases_need_more() -> None:
    base = case_bytes((100, 90, 80), (1, 1, 1), (1, 1, 1))
    assert base < case_bytes((200, 90, 80), (1, 1, 1), (1, 1, 1))
    assert base < case_bytes((100, 90, 80), (1, 1, 1), (0.5, 1, 1))


def test_processes_fit_the_largest_case_and_the_cores() -> None:
    gib = 2**30
    assert fitting_processes([gib, 4 * gib], 10 * gib, 16) == 2
    assert fitting_processes([gib], 100 * gib, 16) == 16
    assert fitting_processes([50 * gib], gib, 16) == 1
    assert fitting_processes([], gib, 3) == 3


def test_this_machine_has_something() -> None:
    assert free_memory() > 2**20 and usable_cores() >= 1
