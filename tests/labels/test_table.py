from __future__ import annotations

import re
from pathlib import Path

import pytest

from fran.errors import ConfigError
from fran.labels import LabelTable, Remapping, parse_remapping

SHIPPED = Path(__file__).parents[2] / "conf" / "labels" / "tsl.yaml"
COLUMNS = ("label_full", "label_organ", "label_region", "label_minimal", "label_localiser")

#: What remapping cells of old workbooks say, and for how many datasources.
CELLS = [
    ("TSL.all", 1),
    ("TSL.label_localiser", 1),
    ("TSL.all,TSL.label_minimal", 1),
    ("TSL.lungs,TSL.lungs", 1),
    ("TSL.label_localiser,TSL.lungs", 1),
    ("TSL.label_full:TSL.label_minimal", 1),
    ("TSL.label_full:TSL.label_organ", 1),
    ("TSL.label_full:TSL.label_region", 1),
    ("TSL.label_full:TSL.label_localiser", 1),
    ("TSL.label_minimal:TSL.kidneys ", 1),
    ("TSL.label_region:TSL.gi", 1),
    ("TSL.label_region:TSL.lungs", 1),
    ("TSL.label_localiser:TSL.gi", 1),
    ("TSL.label_localiser:TSL.lungs", 2),
    ("TSL.label_region:TSL.kidney, TSL.label_region:TSL.liver", 2),
    ("TSL.label_region:TSL.label_region,TSL.label_region:TSL.label_region", 2),
    ("TSL.label_localiser:TSL.label_localiser,TSL.label_localiser:TSL.localiser", 2),
    ("TSL.label_region:TSL.lungs,None,None,None", 4),
    ("{1:3},TSL.label_minimal: TSL.pancreas", 2),
    ("None,TSL.label_full: TSL.pancreas", 2),
]


@pytest.fixture(scope="module")
def table() -> LabelTable:
    return LabelTable.read(SHIPPED)


def test_the_shipped_table_is_complete(table: LabelTable) -> None:
    assert tuple(table.columns) == COLUMNS
    for column in table.columns.values():
        assert sorted(column.values) == list(range(1, 118))
        used = set(column.values.values())
        assert used == set(column.names) - {0}, f"{column.name}: a number without a class, or a class without one"
        assert sorted(used) == list(range(1, len(used) + 1))
        assert column.about
    assert len(table.columns["label_localiser"].names) - 1 == 8
    assert all(ids for ids in table.structures.values())


@pytest.mark.parametrize(("cell", "count"), CELLS)
def test_old_cells_resolve(cell: str, count: int, table: LabelTable) -> None:
    names = ["one", "two", "three", "four"][:count]
    found = parse_remapping(cell, names, table, 0, "remapping_imported")
    assert list(found) == names
    assert any(found.values())


def test_named_structures_resolve(table: LabelTable) -> None:
    for name in (
        *("lungs", "kidney", "kidney_left", "kidney_right", "kidneys", "liver", "pancreas", "spleen", "gi", "abdomen"),
        *("colon", "heart", "bones", "spine", "adrenal_gland", "vertebrae_L3", "rib", "brain"),
    ):
        assert table.ids(f"TSL.{name}"), name
    assert table.ids("kidney") == table.ids("kidneys") == {2, 3, 23, 24}
    assert table.ids("kidney_left") == {3, 23}
    assert table.ids("lungs") == {10, 11, 12, 13, 14}
    assert len(table.ids("bones")) == 26 + 24 + 2 + 1 + 10


def test_structures_that_crops_are_made_of_stand_alone(table: LabelTable) -> None:
    """In these columns nothing else has the structure's value."""
    alone = {
        "label_region": ("lungs", "liver", "spleen", "pancreas", "kidneys", "gi", "spine"),
        "label_minimal": ("lungs", "liver", "spleen", "pancreas", "kidneys", "gi", "muscles"),
        "label_localiser": ("lungs", "gi"),
    }
    for column, structures in alone.items():
        for name in structures:
            extra = table.others(name, column)
            assert extra <= ({79} if name == "spine" else set()), f"{name} in {column} holds {sorted(extra)} too"
            assert len(table.values(name, column)) == 1
    assert 5 in table.others("pancreas", "label_localiser")


def test_column_to_column_goes_row_by_row(table: LabelTable) -> None:
    organs = table.remapping("TSL.label_full", "TSL.label_organ")
    assert organs[2] == organs[3]
    assert organs.names[organs[2]] == "kidney"
    assert organs[500] == 500
    assert table.remapping("TSL.label_full", "TSL.label_organ", rest=0)[500] == 0
    regions = table.remapping("TSL.label_organ", "TSL.label_localiser", rest=0)
    assert regions[organs[10]] == table.column("localiser").values[10]


def test_column_to_structure_keeps_its_numbers_and_drops_the_rest(table: LabelTable) -> None:
    (lungs,) = table.values("lungs", "label_region")
    for rest in ("keep", 0):
        found = table.remapping("TSL.label_region", "TSL.lungs", rest)  # type: ignore[arg-type]
        assert found == Remapping.of({lungs: lungs}, rest=0)
        assert found.names == {lungs: "lungs"}


def test_a_structure_as_source_restricts_the_rows(table: LabelTable) -> None:
    found = table.remapping("TSL.lungs", "TSL.label_organ")
    assert found == Remapping.of(dict.fromkeys(range(10, 15), table.column("organ").values[10]), rest=0)


MISTAKES = [
    ("  5: ", "  4: ", "4 stands twice"),
    (
        "liver,         abdomen]",
        "lever,         abdomen]",
        "'lever' has no number in label_minimal; did you mean 'liver'",
    ),
    ("  1:   [spleen, ", "  1:   [", "class 1: expected one name for each of label_full"),
    ("  2:   [kidney_right,", "  2:   [kidney_left,", "'kidney_left' is class"),
    ("gallbladder: 3, liver: 4", "gallbladder: 3, liver: 3", "gallbladder and liver have one number, 3"),
    ("gallbladder: 3, liver: 4", "gallbladder: 3, liver: four", "a number from 1 to 65535 for liver, found 'four'"),
    ("lungs: [lung_*]", "lungs: [lunge_*]", "no class is called 'lunge_*'"),
    ("lungs: [lung_*]", "lungs: lung_*", "expected a list of classes"),
    ("lungs: [lung_*]", "organ: [lung_*]", "taken by a column"),
    ("structures:", "structure:", "did you mean 'structures'"),
    ("  label_full: each", "  label_all: each", "expected a column label_full"),
    ("columns:", "columns: [", "expected yaml"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_mistakes_in_the_file_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    copy = tmp_path / "tsl.yaml"
    copy.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        LabelTable.read(copy)
    assert str(copy) in str(caught.value)


def test_several_mistakes_are_told_together_with_their_lines(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace("lungs: [lung_*]", "lungs: [lunge]")
    text = text.replace("  1:   [spleen, ", "  1:   [")
    copy = tmp_path / "tsl.yaml"
    copy.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="2 to mend") as caught:
        LabelTable.read(copy)
    lines = [int(n) for n in re.findall(r"line (\d+):", str(caught.value))]
    listed = text.splitlines()
    assert [listed[n - 1].split(":")[0].strip() for n in lines] == ["1", "lungs"]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file"):
        LabelTable.read(tmp_path / "none.yaml")
