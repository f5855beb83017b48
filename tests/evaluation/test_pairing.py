"""Which files are scored as one case: never two that may be two."""

from __future__ import annotations

from pathlib import Path

import pytest

from fran.evaluation.pairing import pair


@pytest.mark.parametrize(
    ("preds", "refs", "expected"),
    [
        (["kits_1", "kits_2"], ["kits_2", "kits_1"], {"kits_1": "kits_1", "kits_2": "kits_2"}),
        (["pro_site_021_0000"], ["pro_site_021"], {"pro_site_021": "pro_site_021_0000"}),
        (["case021_0000"], ["case021"], {"case021": "case021_0000"}),
        (["p_021_0000", "p_021_0001"], ["p_021"], {}),
        (["pro_site_021_0000"], ["pro_site_022"], {}),
        (["pro_site_021"], ["pro_site_022"], {}),
        (["pro_1_021"], ["pro_1_022"], {}),
        (["a1_0004"], ["a1_0005"], {}),
        (["kits_0004"], ["kits_0005"], {}),
        (["kits_00004_20240131"], ["kits_00004"], {"kits_00004": "kits_00004_20240131"}),
        (["kits_00004_20240131"], ["kits_00004_20250131"], {}),
        (["kits_00004_thick"], ["organs_00004"], {"organs_00004": "kits_00004_thick"}),
        (["kits_4_a", "kits_4_b"], ["kits_4"], {}),
    ],
)
def test_pairs(preds: list[str], refs: list[str], expected: dict[str, str]) -> None:
    pairs, missing, extra = pair({name: Path("p", name) for name in preds}, {name: Path("r", name) for name in refs})
    assert {name: pred.name for name, pred, _ in pairs} == expected
    assert all(ref == Path("r", name) for name, _, ref in pairs)
    assert (sorted(missing), extra) == (
        sorted(set(refs) - expected.keys()),
        sorted(set(preds) - set(expected.values())),
    )
