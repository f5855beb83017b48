from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fran.networks.dynunet import dynunet
from fran.networks.segresnet import segresnet
from fran.networks.topology import residual_multiple
from fran.projects.recommendation import fits, recommend, recommended_patch, recommended_spacing

spacings = st.tuples(*[st.floats(0.3, 8.0)] * 3)


def test_spacing_is_the_median_but_for_thick_slices() -> None:
    assert recommended_spacing(np.array([[1.0, 1.1, 2.0], [1.0, 1.3, 2.2], [2.0, 1.2, 2.1]])) == [1.0, 1.2, 2.1]
    thick = np.array([[0.8, 0.9, z] for z in (1.0, 5.0, 5.0, 5.0, 5.0)])
    assert recommended_spacing(thick) == [0.8, 0.9, 2.6]


@settings(max_examples=25, deadline=None)
@given(spacings, st.tuples(*[st.integers(8, 700)] * 3), st.sampled_from([2**18, 2**20, 2**21]))
def test_patch_fits_the_networks_and_the_budget(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], budget: int
) -> None:
    patch = recommended_patch(np.array(shape, float), spacing, budget)
    assert patch[0] == patch[1]
    assert np.prod(patch) <= budget
    assert fits(patch, spacing)
    for multiple in (dynunet.stride_multiple(patch, spacing), segresnet.stride_multiple(spacing)):  # type: ignore[attr-defined]
        assert not any(n % m for n, m in zip(patch, multiple, strict=True))


@given(spacings)
def test_rule_of_the_residual_network_is_that_of_monai(spacing: tuple[float, float, float]) -> None:
    assert residual_multiple(spacing) == segresnet.stride_multiple(spacing)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("shape", "spacing", "patch"),
    [
        ((512, 512, 300), (0.8, 0.8, 1.5), (160, 160, 80)),
        ((35, 51, 35), (1.0, 1.0, 1.0), (64, 64, 48)),
        ((256, 256, 18), (1.0, 1.0, 6.0), (256, 256, 24)),
    ],
)
def test_patches_a_reader_would_expect(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], patch: tuple[int, int, int]
) -> None:
    assert recommended_patch(np.array(shape, float), spacing) == patch


def test_reasons_and_overrides_are_text_for_people_and_for_a_command_line() -> None:
    spacing = np.array([[0.7, 0.7, 5.0]] * 3)
    found = recommend(spacing, np.array([[512.0, 512.0, 40.0]] * 3), "CT")
    assert found["overrides"] == ["spacing=[0.7,0.7,5]", f"patch_dim0={found['patch_dim0']}", "patch_dim1=32"]
    first, second, *_ = found["reasons"]
    assert "on z, whose median of 5 mm is 7.1 times that of the finest axis" in first
    assert "% of it" in second
    assert found["reasons"][-1].startswith("CT: clipped")
    assert recommend(spacing, np.array([[512.0, 512.0, 40.0]] * 3), "mixed")["reasons"][-1].startswith("several")
