"""`fran postprocess search`: rules that help held-out cases, written where `fran infer` looks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import CasesFailed, ConfigError, SettingProblem, StoreError, counted
from fran.io.files import read_json, write_json
from fran.labels import LabelScheme, Remapping
from fran.projects.mask_labels import LabelRule, adopt_rules, read_rules
from fran.projects.project import Project
from fran.tracking.cv_groups import chosen
from fran.tracking.runs import RunRecord, records
from fran.workflows.cv_show import check_poolable, group_of, run_of
from fran.workflows.entry import Job, run_verb
from fran.workflows.model_sources import ModelSources
from fran.workflows.predictors import segmenter
from fran.workflows.projects import existing_project
from fran.workflows.schema import InferConfig, PostprocessSearchConfig, PredictConfig, label_names
from fran.workflows.terminal import counting, say, show_table

if TYPE_CHECKING:
    from fran.evaluation.postprocess_search import SearchCase, Trial
    from fran.projects.database import CaseRow

log = logging.getLogger("fran.postprocess")

FOLDER = "postprocess"
ADOPTED = "adopted.json"


@dataclass(frozen=True)
class Searched:
    """What is searched.

    Attributes:
        title: for a person.
        folder: where the result goes.
        cases: with a prediction and a reference.
        names: of the labels, by value of the predictions.
        project: that may adopt the rules; None for folders, whose models nobody knows.
    """

    title: str
    folder: Path
    cases: Sequence[SearchCase]
    names: Mapping[int, str]
    project: Project | None


def postprocess_search(job: Job[PostprocessSearchConfig]) -> None:
    """Predict what is not predicted yet, try the rules, show and write what was found.

    Raises:
        StoreError: no such group or run, or none that is trained.
        ConfigError: runs that cannot be pooled, or none with held-out cases.
        CasesFailed: references without a prediction, or label maps that cannot be compared.
    """
    from fran.evaluation.intervals import Bootstrap
    from fran.evaluation.postprocess_report import rows_of, write_trials
    from fran.evaluation.postprocess_search import kept_rules, search_rules

    config = job.config
    found = _of_folders(config) if config.pred else _of_runs(config)
    with counting("search") as on_case:
        how = Bootstrap(config.level, config.samples, config.seed)
        trials = search_rules(found.cases, found.names, how, config.num_processes, on_case=on_case)
    rules = kept_rules(trials)
    table, kept = write_trials(trials, rules, found.folder)
    say(_verdict(rules))
    show_table(found.title, *rows_of(trials))
    say(f"\nwritten: {table} (everything that was tried) and {kept}")
    if found.project is not None and config.adopt:
        _adopt(found.project, trials, rules, kept)
    elif rules:
        say(f"next: fran infer … postprocess={kept}   or: fran postprocess rules={kept} input=… output=…")


def _verdict(rules: Mapping[int, LabelRule]) -> str:
    if not rules:
        return "no rule surely helps: predictions are best left as they are"
    return f"{counted(len(rules), 'rule')} kept: {'; '.join(f'{rule.name} {rule.words}' for rule in rules.values())}"


def check(config: PostprocessSearchConfig) -> list[SettingProblem]:
    """Settings that cannot work, before any work."""
    from_runs = config.runs or config.group
    wanted = {
        "level": 0 < config.level < 1 or "a share above 0 and below 1",
        "samples": config.samples >= 100 or "100 or more",
        "runs": not (config.runs and config.group) or "null together with group",
        "pred": not (config.pred and from_runs) or "null together with runs or group",
        "gt": bool(config.gt) == bool(config.pred) or "a folder of references, together with pred",
        "datasource": config.pred is not None or config.datasource is None or "null without pred",
        "num_processes": config.num_processes >= 1 or "1 or more",
        "overlap": 0 <= config.overlap < 1 or "0 up to but not including 1",
        "tile_batch": config.tile_batch >= 1 or "1 or more",
    }
    return [SettingProblem(key, getattr(config, key), text) for key, text in wanted.items() if isinstance(text, str)]


def _of_folders(config: PostprocessSearchConfig) -> Searched:
    """Predictions and references that are there already, as one fold."""
    from fran.evaluation.origins import as_predicted, scheme_beside
    from fran.evaluation.pairing import label_folder, label_maps, pair, unpaired
    from fran.evaluation.postprocess_search import SearchCase

    pred = Path(str(config.pred)).expanduser()
    preds = label_maps(pred)
    gt = label_folder(Path(str(config.gt)).expanduser(), preds)
    pairs, missing, extra = pair(preds, label_maps(gt))
    problems = unpaired(pred, gt, missing, extra)
    if missing or not pairs:
        raise CasesFailed(f"{len(missing)} of {len(pairs) + len(missing)} references have no prediction", problems)
    files = [file for _, file, _ in pairs]
    _check_not_processed(files)
    scheme = scheme_beside(files)
    names = label_names(config.labels) or (dict(scheme.names) if scheme else {})
    if not names:
        raise ConfigError(f"labels: expected names, found no json of fran beside {pred}; add 'labels={{1: kidney}}'")
    remapping, labels = Remapping(), frozenset(names)
    if config.datasource:
        remapping, labels = as_predicted(scheme, config.datasource)
    cases = [SearchCase(name, p, ref, pred.name, remapping, labels) for name, p, ref in pairs]
    log.info("the rules hold for cases that the models have not seen; fran cannot tell whether these are such")
    return Searched(f"{pred}: {len(cases)} cases", pred / FOLDER, cases, names, None)


def _check_not_processed(files: Sequence[Path]) -> None:
    from fran.inference.provenance import read_record
    from fran.io.volume import stem

    done = [
        stem(file) for file in files if (read_record(file.with_name(f"{stem(file)}.json")) or {}).get("postprocess")
    ]
    if done:
        raise ConfigError(
            f"pred: expected predictions without post-processing, found {len(done)} with, such as {done[0]};"
            " predict with postprocess=false"
        )


def _of_runs(config: PostprocessSearchConfig) -> Searched:
    """Held-out cases of the folds, which are predicted where they are not yet."""
    project = existing_project(config.paths, config.project)
    title, runs = _runs(config, project)
    cases: list[SearchCase] = []
    names: dict[int, str] = {}
    for run in runs:
        labels, found = _held_out(config, project, run)
        cases += found
        names |= labels.names
    folds = "1 fold" if len(runs) == 1 else f"{len(runs)} folds"
    folder = project.folders.project / FOLDER / title
    return Searched(f"{title}: {len(cases)} cases of {folds}", folder, cases, names, project)


def _runs(config: PostprocessSearchConfig, project: Project) -> tuple[str, list[RunRecord]]:
    """A name for the search, and the run of each fold."""
    if config.runs:
        named = [run_of(project, name) for name in config.runs]
        check_poolable(named)
        return "+".join(config.runs), named
    group = group_of(project, config.group)
    members = [chosen(runs) for runs in group.members(records(project.folders.checkpoints)).values()]
    finished = [run for run in members if run.finished]
    if not finished:
        raise StoreError(f"group: no fold of {group.name} is finished; train them: fran cv project={project.title}")
    left = [str(run.fold) for run in members if not run.finished]
    if left:
        log.warning("%s: fold %s is not finished and not in it", group.name, ", ".join(left))
    return group.name, finished


def _held_out(
    config: PostprocessSearchConfig, project: Project, run: RunRecord
) -> tuple[LabelScheme, list[SearchCase]]:
    """The validation cases of a run, predicted by it where they are not yet."""
    from fran.inference.folder import predict_folder
    from fran.inference.memory import parse_bytes

    sources = ModelSources(project.folders)
    models = sources.read(run.name)
    meta = models[0].meta
    rows = _validated(project, run, meta)
    folder = project.folders.predictions / "validation" / run.name
    log.info("%s: %d held-out cases in %s", run.name, len(rows), folder)
    predictor = segmenter(_infer_config(config, run), [models], sources)
    report = predict_folder(predictor, [row.img_symlink for row in rows], folder, ram=parse_bytes(config.ram))
    labels = LabelScheme.from_dict(meta["labels"])
    pairs = zip(rows, report.cases, strict=True)
    return labels, [_case(row, case.label_map, run, meta, labels) for row, case in pairs]


def _validated(project: Project, run: RunRecord, meta: dict[str, Any]) -> list[CaseRow]:
    datasets = meta.get("datasets") or {}
    ids, trained = datasets.get("val") or (), set(datasets.get("train") or ())
    seen = trained.intersection(ids)
    if not ids or seen:
        found = f"{len(seen)} that it was trained on" if seen else "none"
        raise ConfigError(f"runs: expected validation cases that {run.name} was not trained on, found {found}")
    known = {row.case_id: row for row in project.cases()}
    gone = [case_id for case_id in ids if case_id not in known]
    if gone:
        log.warning("%s: no longer in the project, and left out: %s", run.name, ", ".join(gone))
    return [known[case_id] for case_id in ids if case_id in known]


def _case(row: CaseRow, pred: Path, run: RunRecord, meta: dict[str, Any], labels: LabelScheme) -> SearchCase:
    from fran.evaluation.postprocess_search import SearchCase

    own = {raw: value for value, made in labels.origins.items() for ds, raw, _ in made if ds == row.ds}
    remapping = Remapping.of(own, rest=0) if labels.origins else Remapping()
    unannotated = (meta.get("unannotated") or {}).get(row.ds, ())
    drawn = frozenset(labels.values) - frozenset(int(value) for value in unannotated)
    return SearchCase(row.case_id, pred, row.lm, run.fold, remapping, drawn)


def _infer_config(config: PostprocessSearchConfig, run: RunRecord) -> InferConfig:
    same = ("paths", "project", *(item.name for item in fields(PredictConfig)))
    return InferConfig(runs=[run.name], input="", **{name: getattr(config, name) for name in same})


def _adopt(project: Project, trials: Sequence[Trial], rules: Mapping[int, LabelRule], kept: Path) -> None:
    """Bring the rules to mask_labels.json, and say what the next prediction does."""
    from fran.evaluation.postprocess_search import LEAST_CASES

    path = project.folders.mask_labels
    former_path = project.folders.project / FOLDER / ADOPTED
    former = read_rules(former_path)
    decided = {trial.name for trial in trials if trial.n >= LEAST_CASES}  # else what is there stays
    by_name = {name: value for value, name in project.output_names.items()}
    names = {by_name[name]: name for name in decided if name in by_name}
    found = {by_name[rule.name]: rule for rule in rules.values() if rule.name in by_name}
    theirs = adopt_rules(path, found, former, names)
    write_json(
        former_path, {**_stored(former_path), **{str(v): found.get(v, LabelRule(names[v])).to_dict() for v in names}}
    )
    for value in theirs:
        say(f"{names[value]}: the rule in {path} was set by hand and stays")
    lost = [rule.name for rule in rules.values() if rule.name not in by_name]
    if lost:
        say(f"not labels of the project, so their rules are in {kept} alone: {', '.join(lost)}")
    if found or theirs or any(rule.changes for rule in former.values()):
        say(f"next: fran infer project={project.title} …   applies {path}")


def _stored(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def main() -> None:
    """Entry of `fran postprocess search`."""
    run_verb("postprocess_search", PostprocessSearchConfig, postprocess_search, check)
