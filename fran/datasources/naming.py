"""Names of datasources and of their files.

A file is called ``{title}_{case_id}[_extra…].ext``: the title in small letters and digits, the case id alphanumeric,
further tokens such as a date or a description free to follow. ``{title}_{case_id}`` is the case id inside a project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fran.errors import ConfigError
from fran.io.volume import stem

FILE_RULE = "<title>_<case id>[_<extra>…].ext (title: small letters and digits; case id: letters and digits)"

_TITLE = re.compile(r"[a-z0-9]+")
_CASE = re.compile(r"[A-Za-z0-9]+")
_EXTRA = re.compile(r"[A-Za-z0-9-]+")
_DATASOURCE = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class CaseName:
    """The parts of a file name.

    Example:
        >>> parse_file_name("kits_00004_20240131.nii.gz")
        CaseName(title='kits', number='00004', extra=('20240131',))
        >>> parse_file_name("kits_00004_20240131.nii.gz").case_id
        'kits_00004'
    """

    title: str
    number: str
    extra: tuple[str, ...] = ()

    @property
    def case_id(self) -> str:
        """Id of the case inside a project."""
        return f"{self.title}_{self.number}"


class NameFault(ValueError):
    """A file name breaks the rule; the message says how."""


def parse_file_name(path: Path | str) -> CaseName:
    """Take a file name apart.

    Raises:
        NameFault: the name breaks `FILE_RULE`; the message is the reason alone, without the path.
    """
    title, *rest = stem(path).split("_")
    if not title:
        raise NameFault("no title before the first '_'")
    if not _TITLE.fullmatch(title):
        raise NameFault(f"title '{title}' has {_strangers(title, _TITLE)}")
    if not rest or not rest[0]:
        raise NameFault("no case id after the title")
    number, *extra = rest
    if not _CASE.fullmatch(number):
        raise NameFault(f"case id '{number}' has {_strangers(number, _CASE)}")
    for token in extra:
        if not token:
            raise NameFault("two '_' in a row, or one at the end")
        if not _EXTRA.fullmatch(token):
            raise NameFault(f"token '{token}' has {_strangers(token, _EXTRA)}")
    return CaseName(title, number, tuple(extra))


def check_folder_name(folder: Path) -> None:
    """Refuse a datasource folder with a hyphen in its name.

    Raises:
        ConfigError: naming the folder and the name to give it.
    """
    if "-" in folder.name:
        fixed = folder.with_name(folder.name.replace("-", "_"))
        raise ConfigError(
            f"datasource folder: expected a name without hyphens, found '{folder.name}' ({folder}); "
            f"rename it: mv '{folder}' '{fixed}'"
        )


def check_datasource_name(name: str) -> None:
    """Refuse a datasource name or alias that cannot become a file or folder name.

    Raises:
        ConfigError: the name has other characters than letters, digits and ``_``.
    """
    if not _DATASOURCE.fullmatch(name):
        raise ConfigError(f"datasource name: expected letters, digits and '_', found '{name}'; pass name=<another>")


def _strangers(token: str, allowed: re.Pattern[str]) -> str:
    found = sorted({c for c in token if not allowed.fullmatch(c)})
    names = {" ": "a space", "-": "a hyphen", ".": "a dot"}
    return ", ".join(names.get(c, f"'{c}'") for c in found)
