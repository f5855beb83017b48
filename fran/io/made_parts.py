"""Parts of a page that are made from the code, between two marks."""

from __future__ import annotations

from pathlib import Path

from fran.io.files import atomic_path

END = "<!-- end of what is made -->"


def with_made(page: str, begin: str, made: str) -> str:
    """A page whose part between the mark `begin` and `END` is `made`.

    Raises:
        ValueError: it has no such part.
    """
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"page: expected the lines {begin!r} and {END!r}, found none")
    return f"{before}{begin}\n\n{made}\n\n{END}{after}"


def renew(path: Path, begin: str, made: str) -> None:
    """Bring such a part of a file up to date."""
    page = with_made(path.read_text(encoding="utf-8"), begin, made)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
