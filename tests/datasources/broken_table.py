"""Writes docs/broken_inputs.md from real scans: python -m tests.datasources.broken_table <folder of datasources>."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fran.datasources.datasource import Datasource
from fran.datasources.scan import ScanReport
from fran.errors import CaseProblem

from .faults import FAULTS, good_folder
from .scenarios import DECLARED, SCENARIOS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "broken_inputs.md"
MADE = "## Faults made on purpose"
REAL = "## Faults in real scans"
_SHOWN = 2
_HEAD = "| what is wrong | verdict | what fran says | what to do |\n|---|---|---|---|"
_INTRODUCTION = """# What is found wrong with raw data

`fran check <folder>` and `fran init` read every file once and judge every case: *ok*, *note* (kept, nothing need be
done), *warning* (kept, worth a look) or *error* (left out until mended; the other cases are kept). `strict=true` turns
warnings into errors. All faults come in one run, each with file, what was expected, what was found and what to do. The
rows below are what fran says, word for word; a test holds them to it. Nothing raw is ever changed: `fran fix` writes a
new folder.

A label map lies on its image's grid if no corner is half the smallest voxel side or more away. Affines that differ by
less than 0.0001 are one affine written twice (note), what is more but below that limit is a warning, and anything else
an error. An axis order of its own is no fault. Headers without a unit are read as millimetres.
"""


def made_rows() -> Iterator[str]:
    """A row for each fault of `faults.FAULTS`."""
    for name, fault in FAULTS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = good_folder(Path(temporary) / "raw")
            fault.make(folder)
            source = Datasource(folder, **{"modality": "CT", **(fault.settings or {})})
            with fault.around(folder):
                report = source.scan(Path(temporary) / "store")
            yield _row(fault.what if name != "good" else "nothing", report, folder)


def real_rows(broken: Path) -> Iterator[str]:
    """A row for each scenario of a folder of broken datasources."""
    for name, scenario in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as temporary:
            source = Datasource(broken / name, labels=DECLARED.get(name), modality="MR")
            report = source.scan(Path(temporary) / "store")
            yield _row(scenario.what, report, broken / name)


def _row(what: str, report: ScanReport, folder: Path) -> str:
    worst = max(("ok", *(p.severity for p in report.problems)), key=("ok", "note", "warning", "error").index)
    told = [p for p in report.problems if p.severity == worst]
    says = [_cell(_said(p), folder) for p in told]
    steps = list(dict.fromkeys(_cell(p.next_step, folder) for p in told))
    more = [f"… and {len(says) - _SHOWN} more"] if len(says) > _SHOWN else []
    return f"| {what} | {worst} | {'<br>'.join(says[:_SHOWN] + more)} | {'<br>'.join(steps[:_SHOWN])} |"


def _said(problem: CaseProblem) -> str:
    return f"{problem.path}: {problem.what}: expected {problem.expected}, found {problem.found}"


def _cell(text: str, folder: Path) -> str:
    text = text.replace(f"{folder}/", "").replace(str(folder), folder.name)
    text = re.sub(
        "(truncated or corrupt one): .*", r"\1 …", text
    )  # zlib's own words, which differ between its versions
    text = re.sub(r"a file of \d+ bytes, which hold \d+ at most", "a file of … bytes, which hold … at most", text)
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(broken: Path) -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, MADE, "", _HEAD, *made_rows(), "", REAL, "", _HEAD, *real_rows(broken), ""])


def stored_rows(heading: str) -> list[str]:
    """The rows of a table of the page."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(heading)
    return [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
