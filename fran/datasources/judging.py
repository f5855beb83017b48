"""From measured cases to records and problems, under the settings of their datasource."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fran.datasources import checks
from fran.datasources.pairing import Pair
from fran.datasources.records import CaseFacts, CaseRecord
from fran.errors import CaseProblem


@dataclass(frozen=True)
class ScanSettings:
    """What a scan needs to know of its datasource; see `fran.datasources.datasource.Datasource`.

    Attributes:
        name: of the datasource.
        folder: of the datasource.
        labels: declared names by value.
        modality: as declared.
        patient_pattern: as declared.
        seed: of the foreground samples.
        strict: warnings keep a case out, as errors do.
    """

    name: str
    folder: Path
    labels: Mapping[int, str] | None
    modality: str | None
    patient_pattern: str | None
    seed: int = 0
    strict: bool = False


def judge(
    settings: ScanSettings, found: Sequence[tuple[Pair, CaseFacts]]
) -> tuple[list[CaseRecord], list[CaseProblem]]:
    """Records of the good cases in order of `found`, and the problems of all of them.

    Args:
        settings: of the datasource.
        found: measured cases.
    """
    problems: list[CaseProblem] = []
    good: list[tuple[Pair, CaseFacts]] = []
    records: list[CaseRecord] = []
    for pair, facts in found:
        said = checks.check_case(pair, facts, settings.labels)
        patient = _patient(pair, settings.patient_pattern)
        if patient is None:
            said.append(_no_patient(pair, settings.patient_pattern or ""))
        problems += said
        if all(p.severity != "error" for p in said):
            good.append((pair, facts))
            records.append(_record(settings, pair, facts, patient or pair.patient))
    together = checks.check_datasource(settings.name, settings.folder, good, settings.labels)
    if settings.modality is None and good:
        together.append(checks.modality_note(settings.name, settings.folder, [r.modality for r in records]))
    whole = any(p.severity == "error" for p in together)
    return [] if whole else records, problems + together


def _record(settings: ScanSettings, pair: Pair, facts: CaseFacts, patient: str) -> CaseRecord:
    modality = settings.modality or checks.infer_modality(facts)
    return CaseRecord(pair.case_id, settings.name, patient, modality, pair.image, pair.lm, facts)


def _patient(pair: Pair, pattern: str | None) -> str | None:
    """Patches that were cut from one case are of one patient, so that no split parts them."""
    if pattern is None:
        return pair.patient
    match = re.search(pattern, pair.image.name)
    return (match.group(1) if match.re.groups else match.group()) if match else None


def _no_patient(pair: Pair, pattern: str) -> CaseProblem:
    expected, step = f"a name that matches {pattern!r}", "correct patient_pattern"
    return CaseProblem(pair.case_id, str(pair.image), "patient", expected, pair.image.name, step)
