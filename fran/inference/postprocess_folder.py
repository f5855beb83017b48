"""Post-process a folder of label maps that are there already."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import fran
from fran.errors import CaseProblem, CasesFailed, ConfigError, DataError
from fran.inference.postprocess import Change, apply_rules, describe_rules
from fran.inference.provenance import read_record
from fran.io.files import file_digest, write_json
from fran.io.volume import EXTENSIONS, read_volume, stem, write_label_map
from fran.labels import LabelScheme
from fran.parallel.jobs import Execute, Failure
from fran.parallel.local import run_jobs
from fran.projects.mask_labels import LabelRule, rules_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CleanJob:
    """One label map, where it goes, and the rules as they were read."""

    source: Path
    target: Path
    rules: Mapping[int, LabelRule]
    overwrite: bool


@dataclass(frozen=True)
class CleanResult:
    """What happened to one label map.

    Attributes:
        case_id: its name.
        status: "skipped" where it was finished before.
        names: of the labels that have a rule.
        changes: by label value; empty where it was skipped.
    """

    case_id: str
    status: Literal["written", "skipped"]
    names: Mapping[int, str]
    changes: Mapping[int, Change]


def postprocess_folder(
    source: Path | str,
    output: Path | str,
    rules: Mapping[int, LabelRule],
    overwrite: bool = False,
    num_processes: int = 1,
    execute: Execute = run_jobs,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> list[CleanResult]:
    """Write every label map again, post-processed, with a json that says what was done.

    A label map is finished when its json names the same source (by digest) and the same rules; it is skipped. Anything
    else that is in the way is reported and left alone, unless `overwrite` is given.

    Args:
        source: a label map, or a folder of them (its ``lms/`` where it has one). The json that `fran infer` wrote
            beside one says what its values are called, and goes along; without it a rule belongs to its value.
        output: another folder; made if missing.
        rules: by label value, as `fran.projects.mask_labels.read_rules` gives them.
        overwrite: replace what is in the way.
        num_processes: label maps worked on at once.
        execute: where, see `fran.parallel.backends.backend`.
        on_case: called with (cases done, cases in all).

    Raises:
        ConfigError: no rule changes anything, or `output` is where the label maps are.
        DataError: no label maps.
        CasesFailed: after all others are done, if any case failed.
    """
    if not any(rule.changes for rule in rules.values()):
        raise ConfigError("rules: expected one that changes something, found none; see docs/postprocessing.md")
    jobs = [CleanJob(p, Path(output) / p.name, rules, overwrite) for p in _label_maps(Path(source))]
    for job in jobs:
        if job.source.resolve() == job.target.resolve():
            raise ConfigError(f"output: {output} holds {job.source.name} itself; choose another folder")
    results: dict[int, CleanResult] = {}
    problems: dict[int, CaseProblem] = {}
    on_case(0, len(jobs))
    for done, (index, result) in enumerate(execute(clean_label_map, jobs, num_processes), start=1):
        if isinstance(result, Failure):
            problems[index] = _problem(jobs[index], result)
        else:
            results[index] = result
        on_case(done, len(jobs))
    if problems:
        title = f"{len(problems)} of {len(jobs)} label maps failed ({len(results)} done)"
        raise CasesFailed(title, [problems[index] for index in sorted(problems)])
    return [results[index] for index in sorted(results)]


def _label_maps(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    folder = source / "lms" if (source / "lms").is_dir() else source
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.lower().endswith(EXTENSIONS) and not path.name.startswith("."):
            other = found.setdefault(stem(path), path)
            if other != path:
                raise DataError(f"input: expected one file a case, found {other} and {path.name}; remove one")
    if not found:
        raise DataError(f"input: expected label maps ({', '.join(EXTENSIONS)}) in {folder}, found none")
    return list(found.values())


def clean_label_map(job: CleanJob) -> CleanResult:
    """Post-process one label map.

    Raises:
        DataError: it cannot be read, or something else is in its place.
    """
    stored = read_record(_record_of(job.source)) or {}
    labels = _labels(stored, job.rules)
    rules, strangers = rules_for(job.rules, labels)
    for value, rule in strangers.items():
        log.warning("%s: no label of rule %d %s", stem(job.source), value, rule.name)
    source = {"path": str(job.source.resolve()), "digest": file_digest(job.source)}
    described = _described(stored, rules)
    names = {value: labels.names[value] for value in rules}
    if job.target.exists() and not job.overwrite:
        _check_finished(job, source["digest"], described)
        return CleanResult(stem(job.source), "skipped", names, {})
    volume = read_volume(job.source, role="lm")
    lm, voxel_mm3 = np.require(volume.array, requirements=["W"]), math.prod(volume.grid.spacing_mm)
    changes = apply_rules(lm, rules, voxel_mm3)
    facts = {str(value): change.to_dict(voxel_mm3) for value, change in changes.items()}
    record = {
        **{"input": source, "labels": labels.to_dict(), "grid": volume.native.to_dict(), "fran": fran.__version__},
        **stored,
        "postprocess": described,
        "postprocess_of": source,
        "case": {**(stored.get("case") or {}), "postprocess": facts},
    }
    # in this order no label map is ever left beside a json that is not its own
    job.target.unlink(missing_ok=True)
    write_json(_record_of(job.target), record)
    write_label_map(job.target, lm, volume.native, labels.names)
    return CleanResult(stem(job.source), "written", names, changes)


def _labels(stored: Mapping[str, Any], rules: Mapping[int, LabelRule]) -> LabelScheme:
    """Labels of a map: those that its json names, else those that have a rule."""
    if "labels" in stored:
        return LabelScheme.from_dict(stored["labels"])
    return LabelScheme.from_values(rules, {value: rule.name for value, rule in rules.items() if rule.name})


def _described(stored: Mapping[str, Any], rules: Mapping[int, LabelRule]) -> Any:
    """Rules for the json; where others were applied before, all of them in their order."""
    now = describe_rules(rules)
    former = stored.get("postprocess")
    if not former:
        return now
    return [*(former if isinstance(former, list) else [former]), now]


def _check_finished(job: CleanJob, digest: str, described: Any) -> None:
    record = read_record(_record_of(job.target)) or {}
    same_source = (record.get("postprocess_of") or {}).get("digest") == digest
    if same_source and record.get("postprocess") == described:
        return
    found = "one made with other rules" if same_source else "one of another origin"
    raise DataError(
        f"{job.target}: expected no file, or this label map post-processed by the same rules, found {found}; give"
        " another output, or overwrite=true"
    )


def _record_of(label_map: Path) -> Path:
    return label_map.with_name(f"{stem(label_map)}.json")


def _problem(job: CleanJob, failure: Failure) -> CaseProblem:
    log.debug("%s failed\n%s", job.source, failure.trace)
    return CaseProblem(
        case_id=stem(job.source),
        path=str(job.source),
        what="not post-processed",
        expected="a readable label map, and a free place for the new one",
        found=failure.message or failure.kind,
        next_step="see above; the same command does what is left",
    )
