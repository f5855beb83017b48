from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.naming import CaseName, NameFault, check_folder_name, parse_file_name
from fran.errors import ConfigError


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("kits_00004.nii.gz", CaseName("kits", "00004")),
        ("kits23_A7b.nrrd", CaseName("kits23", "A7b")),
        ("lidc2_12_20240131_thin-slices.mha", CaseName("lidc2", "12", ("20240131", "thin-slices"))),
    ],
)
def test_good_names(file: str, expected: CaseName) -> None:
    assert parse_file_name(file) == expected


def test_case_id_leaves_extra_tokens_out() -> None:
    assert parse_file_name("kits_4_late.nii").case_id == "kits_4"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("kits-4.nii.gz", "a hyphen"),
        ("Kits_4.nii.gz", "'K'"),
        ("kits_4 b.nii.gz", "a space"),
        ("kits.nii.gz", "no case id"),
        ("kits_.nii.gz", "no case id"),
        ("kits__4.nii.gz", "no case id"),
        ("kits_4_.nii.gz", "two '_'"),
        ("_4.nii.gz", "no title"),
        ("kits_4.v2.nii.gz", "a dot"),
        ("kits_é4.nii.gz", "'é'"),
        ("kits_4_x.y.nii.gz", "a dot"),
    ],
)
def test_bad_names_say_why(file: str, reason: str) -> None:
    with pytest.raises(NameFault, match=reason):
        parse_file_name(file)


def test_hyphen_in_folder_name_names_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"mv '/data/my-kits' '/data/my_kits'"):
        check_folder_name(Path("/data/my-kits"))
    check_folder_name(Path("/some-where/kits"))
