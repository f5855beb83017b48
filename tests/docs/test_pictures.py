"""Pictures of the pages: each is there, small, described, shown somewhere, and fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = REPOSITORY / "docs" / "assets"
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)|<img\b([^>]*)>")
LARGEST_BYTES, WORDS = 200_000, 5


def shown() -> list[tuple[Path, str, str]]:
    """Page, description and address of every picture that a page shows."""
    found = []
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))):
        for alt, address, tag in PICTURE.findall(page.read_text(encoding="utf-8")):
            attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            found.append((page, alt or attributes.get("alt", ""), address or attributes.get("src", "")))
    return found


def test_pictures_are_there_and_described() -> None:
    assert len(shown()) >= 8
    for page, alt, address in shown():
        assert (page.parent / address).is_file(), f"{page.name}: no {address}"
        assert len(alt.split()) >= WORDS, f"{page.name}: {address} needs words for those who do not see it"


def test_pictures_are_small_and_all_are_shown() -> None:
    made = {path.resolve() for path in ASSETS.iterdir() if path.suffix != ".css"}
    assert made == {(page.parent / address).resolve() for page, _, address in shown()}
    assert [path.name for path in made if path.stat().st_size > LARGEST_BYTES] == []
    for path in made:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.verify()


def test_drawings_fetch_nothing_and_name_no_place_of_this_machine() -> None:
    for path in ASSETS.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'@font-face|@import|(?:href|src)="(?!#)|url\((?!#)', text), path.name
        places = set(re.findall(r"/(?:home|root|tmp|work|Users)/\w+", text.replace("&#160;", " ")))
        assert places <= {"/home/ann"}, path.name
