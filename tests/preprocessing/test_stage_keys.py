from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fran.errors import ConfigError
from fran.labels import Remapping
from fran.preprocessing.keys import canonical_json, readable_spacing, stage_key
from fran.preprocessing.relabelling import Relabelling
from fran.preprocessing.stages.source import CaseJob, SourceParams

PARAMS = {"spacing_mm": [1.5, 1.5, 3.0], "remapping": {1: 2, 10: 3}, "use_fg_indices": True, "exclude": None}
SPELLINGS = [
    {"use_fg_indices": True, "exclude": None, "remapping": {10: 3, 1: 2}, "spacing_mm": [1.5, 1.5, 3.0]},
    PARAMS | {"spacing_mm": (1.5, 1.5, 3)},
    PARAMS | {"spacing_mm": np.array([1.5, 1.5, 3])},
    PARAMS | {"remapping": {"1": 2.0, "10": np.int16(3)}},
    PARAMS | {"use_fg_indices": np.bool_(True)},
]
MEANINGS = [
    PARAMS | {"spacing_mm": [1.5, 3.0, 1.5]},
    PARAMS | {"spacing_mm": [1.5, 1.5, 3.0000001]},
    PARAMS | {"remapping": {1: 3, 10: 2}},
    PARAMS | {"use_fg_indices": 1},
    PARAMS | {"exclude": []},
    PARAMS | {"more": 0},
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_does_not_matter(spelling: dict[str, object]) -> None:
    assert stage_key("parent", spelling, 1) == stage_key(["parent"], PARAMS, 1)


@pytest.mark.parametrize("other", MEANINGS)
def test_meaning_does(other: dict[str, object]) -> None:
    assert stage_key("parent", other, 1) != stage_key("parent", PARAMS, 1)


def test_parents_version_and_stage_matter() -> None:
    keys = {
        stage_key(("a", "b"), PARAMS, 1),
        stage_key(("b", "a"), PARAMS, 1),
        stage_key("ab", PARAMS, 1),
        stage_key(("a", "b"), PARAMS, 2),
        stage_key(("a", "b"), PARAMS, 1, "lbd"),
    }
    assert len(keys) == 5 and all(len(key) == 32 for key in keys)


def test_key_is_the_same_in_every_release() -> None:
    """A changed value means that all preprocessed data of all users are made again."""
    assert stage_key(("a", "b"), PARAMS, 1) == "cc56a78415b934357758206c2d55dec8"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_values_without_a_canonical_form(value: object) -> None:
    with pytest.raises(ConfigError, match="parameters"):
        canonical_json({"a": [value]})


@pytest.mark.parametrize(
    ("spacing", "name"),
    [
        ((1.5, 1.5, 3), "spc_150_150_300"),
        ((0.8, 0.785, 12.0), "spc_080_079_1200"),
        ((0.05, 1, 1.999), "spc_005_100_200"),
    ],
)
def test_readable_spacing(spacing: tuple[float, float, float], name: str) -> None:
    assert readable_spacing(spacing) == name


def test_what_a_case_depends_on() -> None:
    job = CaseJob("a1", Path("i.nii"), Path("l.nii"), "d1", "d2", "CT", "kits")
    params = SourceParams((1.5, 1.5, 3))
    same = [
        (params, replace(job, image=Path("moved/i.nii"), datasource="renamed")),
        (replace(params, spacing_mm=(1.5, 1.5, 3.0)), job),
        (replace(params, remapping=Relabelling.of({"kits": Remapping.of({4: 4})})), job),
        (replace(params, remapping=Relabelling.of({"lits": Remapping.of({1: 2}), "kits": None})), job),
    ]
    other = [
        (params, replace(job, image_digest="d9")),
        (params, replace(job, lm_digest="d9")),
        (params, replace(job, modality="MR")),
        (replace(params, remapping=Relabelling.of({"kits": Remapping.of({1: 2})})), job),
        (params, replace(job, case_id="a2")),
        (replace(params, spacing_mm=(1.5, 3, 1.5)), job),
        (replace(params, seed=1), job),
        (replace(params, fg_indices_exclude=(1,)), job),
        (replace(params, use_fg_indices=False), job),
    ]
    key = params.case_key(job)
    assert all(p.case_key(j) == key for p, j in same)
    assert len({key, *(p.case_key(j) for p, j in other)}) == len(other) + 1


def test_exclusions_are_not_read_where_nothing_is_sampled() -> None:
    params = SourceParams((1, 1, 1), use_fg_indices=False)
    assert replace(params, fg_indices_exclude=(1,)).key() == params.key()
