"""What scans found, for people and for other programs: qc.json and the text of a terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fran.datasources.scan import SEVERITIES, ScanReport
from fran.errors import CaseProblem, Severity, StoreError
from fran.io.files import read_json, write_json

QC_FILE = "qc.json"
VERDICTS = ("ok", *SEVERITIES)
_SHOWN = 3
_MEANING: dict[str, str] = {
    "error": "errors: left out until mended",
    "warning": "warnings: kept, worth a look",
    "note": "notes: kept, nothing need be done",
}


@dataclass(frozen=True)
class Line:
    """A line of text, with the severity that it is about where it is a headline."""

    text: str
    severity: Severity | None = None


@dataclass
class Quality:
    """Verdicts about the cases of some datasources.

    Attributes:
        cases: case id to ``"ok"``, ``"note"``, ``"warning"`` or ``"error"``.
        problems: (datasource, problem).
    """

    cases: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, CaseProblem]] = field(default_factory=list)

    @classmethod
    def of(cls, reports: Sequence[ScanReport]) -> Quality:
        """Verdicts of scans; of equal case ids in two datasources the worse counts."""
        quality = cls()
        for report in reports:
            quality.problems += [(report.datasource, problem) for problem in report.problems]
            for case_id, verdict in report.verdicts.items():
                quality.cases[case_id] = max(quality.cases.get(case_id, "ok"), verdict, key=VERDICTS.index)
        return quality

    def add(self, problems: Iterable[CaseProblem], datasource: str = "") -> None:
        """Add problems that are not there yet, such as those between datasources."""
        known = {problem for _, problem in self.problems}
        for problem in problems:
            if problem not in known:
                self.problems.append((datasource, problem))
                former = self.cases.get(problem.case_id)
                if former is not None:
                    self.cases[problem.case_id] = max(former, problem.severity, key=VERDICTS.index)

    @property
    def counts(self) -> dict[str, int]:
        """Cases of each verdict."""
        counted = Counter(self.cases.values())
        return {verdict: counted[verdict] for verdict in VERDICTS}

    @property
    def has_errors(self) -> bool:
        """Whether a case, or a datasource, is left out."""
        return any(problem.severity == "error" for _, problem in self.problems)


def write_qc(path: Path, quality: Quality) -> None:
    """Write qc.json: cases of each verdict, the verdict of each case, every problem in full.

    Equal scans give equal bytes.
    """
    write_json(path, as_dict(quality))


def as_dict(quality: Quality) -> dict[str, Any]:
    """What qc.json holds."""
    problems = sorted(quality.problems, key=lambda item: (item[0], *map(str, asdict(item[1]).values())))
    return {
        "counts": quality.counts,
        "cases": quality.cases,
        "problems": [{"datasource": ds, **asdict(problem)} for ds, problem in problems],
    }


def read_qc(path: Path) -> Quality:
    """Inverse of `write_qc`.

    Raises:
        StoreError: there is no such file, or it is another one.
    """
    content = read_json(path)
    try:
        problems = [{k: v for k, v in row.items() if k != "datasource"} for row in content["problems"]]
        found = [(row["datasource"], CaseProblem(**p)) for row, p in zip(content["problems"], problems, strict=True)]
        return Quality(dict(content["cases"]), found)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: expected verdicts written by fran, found other content ({error})") from error


def lines(quality: Quality, title: str) -> Iterator[Line]:
    """Verdicts as text: counts first, then errors, warnings and notes, those of one kind together."""
    n = quality.counts
    parts = [f"{n['ok']} ok", f"{n['note']} with notes", f"{n['warning']} with warnings", f"{n['error']} left out"]
    plural = "" if len(quality.cases) == 1 else "s"
    yield Line(f"{title}: {len(quality.cases)} case{plural}: {', '.join(parts)}")
    for severity in reversed(SEVERITIES):
        kinds: dict[str, list[tuple[str, CaseProblem]]] = defaultdict(list)
        for ds, problem in quality.problems:
            if problem.severity == severity:
                kinds[problem.what].append((ds, problem))
        if kinds:
            yield Line("")
            yield Line(_MEANING[severity], severity)
        for what, found in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
            yield from _kind(what, found, severity)


def _kind(what: str, found: Sequence[tuple[str, CaseProblem]], severity: Severity) -> Iterator[Line]:
    """Problems of one kind. Errors are listed each; of many warnings or notes, the first stands for all."""
    names = list(dict.fromkeys(problem.case_id for _, problem in found))
    whole = all(problem.case_id == ds for ds, problem in found)
    unit = "datasource" if whole else "case"
    more = f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
    yield Line(f"  {what}: {len(names)} {unit}{'s' * (len(names) > 1)}: {', '.join(names[:_SHOWN])}{more}", severity)
    shown = [problem for _, problem in (found if severity == "error" or len(found) <= _SHOWN else found[:1])]
    once = {name for name in ("expected", "next_step") if len({getattr(p, name) for p in shown}) == 1}
    for problem in shown:
        yield Line(f"    {problem.path}")
        if "expected" not in once:
            yield Line(f"      expected {problem.expected}")
        yield Line(f"      found    {problem.found}")
        if "next_step" not in once:
            yield Line(f"      next     {problem.next_step}")
    if len(shown) < len(found):
        yield Line(f"      … {len(found) - len(shown)} more like it, all in {QC_FILE}")
    if "expected" in once:
        yield Line(f"      expected {shown[0].expected}")
    if "next_step" in once:
        yield Line(f"      next     {shown[0].next_step}")


def as_text(quality: Quality, title: str) -> str:
    """`lines` as one string."""
    return "\n".join(line.text for line in lines(quality, title))
