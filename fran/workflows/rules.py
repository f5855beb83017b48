"""Which rules of post-processing a command applies."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, SettingProblem
from fran.projects.folders import ProjectFolders
from fran.projects.mask_labels import LabelRule, read_rules, rules_for

if TYPE_CHECKING:
    from fran.inference.case import Segmenter

log = logging.getLogger("fran.postprocess")

EXPECTED = "true: the rules of the project's mask_labels.json, false: none, or a file of rules"


def postprocessed(predictor: Segmenter, wanted: Any, folders: ProjectFolders) -> Segmenter:
    """A predictor that post-processes, where there are rules that change something.

    Args:
        predictor: that predicts.
        wanted: the setting ``postprocess``.
        folders: of the project.

    Raises:
        ConfigError: rules that cannot be applied.
    """
    from fran.inference.postprocess import PostProcessed

    if wanted is False:
        return predictor
    given = None if wanted is True else Path(str(wanted)).expanduser()
    path = folders.mask_labels if given is None else given
    rules, strangers = rules_for(read_rules(path), predictor.labels)
    if given is None and (rules or strangers) and _of_other_project(predictor, folders):
        log.warning("%s is not applied: the models are of another project; postprocess=<file> names rules", path)
        return predictor
    if strangers:
        _say_strangers(path, strangers, predictor, strict=given is not None)
    if not rules:
        return predictor
    log.info("post-processing by %s: %s", path, "; ".join(f"{rule.name} {rule.words}" for rule in rules.values()))
    return PostProcessed(predictor, rules)


def check_postprocess(wanted: Any) -> list[SettingProblem]:
    """What cannot work about the setting ``postprocess``."""
    if isinstance(wanted, bool) or (isinstance(wanted, str) and Path(wanted).expanduser().is_file()):
        return []
    return [SettingProblem("postprocess", wanted, EXPECTED)]


def _of_other_project(predictor: Segmenter, folders: ProjectFolders) -> bool:
    return any(str(m.meta.get("project", folders.title)) != folders.title for m in predictor.members)


def _say_strangers(path: Path, rules: dict[int, LabelRule], predictor: Segmenter, strict: bool) -> None:
    listed = ", ".join(f"{value} {rule.name}".strip() for value, rule in rules.items())
    known = ", ".join(f"{value} {name}" for value, name in predictor.labels.names.items())
    text = f"{path}: the models do not predict {listed}, for which there are rules; they predict {known}"
    if strict:
        raise ConfigError(f"postprocess: {text}")
    log.warning("%s", text)
