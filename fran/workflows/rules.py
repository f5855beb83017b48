"""Which rules of post-processing a command applies."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fran.errors import ConfigError, SettingProblem
from fran.labels import LabelScheme
from fran.projects.folders import ProjectFolders
from fran.projects.mask_labels import LabelRule, parse_rules, read_rules, rules_for

if TYPE_CHECKING:
    from fran.inference.case import Segmenter

log = logging.getLogger("fran.postprocess")

#: Entry of a model's description in which a bundle brings its rules.
CARRIED = "postprocess"
EXPECTED = "true: the project's mask_labels.json, or what a bundle brings; false: no rules; or a file of rules"


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

    rules = chosen_rules(wanted, folders, [member.meta for member in predictor.members], predictor.labels)
    return PostProcessed(predictor, rules) if rules else predictor


def chosen_rules(
    wanted: Any, folders: ProjectFolders, models: Sequence[Mapping[str, Any]], labels: LabelScheme
) -> dict[int, LabelRule]:
    """The rules that change something, by label value of the models; what is chosen, and what is not, is logged.

    Args:
        wanted: the setting ``postprocess``.
        folders: of the project.
        models: descriptions of the models, as in their checkpoints.
        labels: of the models.

    Raises:
        ConfigError: rules that cannot be applied.
    """
    if wanted is False:
        return {}
    carried = [model[CARRIED] for model in models if CARRIED in model]
    if wanted is not True:
        path, where = Path(str(wanted)).expanduser(), str(wanted)
        stated = read_rules(path)
    elif carried:
        where, stated = "the rules of the bundle", _of_bundle(carried, len(models))
    else:
        where, stated = str(folders.mask_labels), read_rules(folders.mask_labels)
    rules, strangers = rules_for(stated, labels)
    others = {str(model.get("project", folders.title)) for model in models} - {folders.title}
    if wanted is True and not carried and others and (rules or strangers):
        log.warning("%s is not applied: the models are of another project; postprocess=<file> names rules", where)
        return {}
    if strangers:
        _say_strangers(where, strangers, labels, strict=wanted is not True)
    if rules:
        log.info("post-processing by %s: %s", where, "; ".join(f"{rule.name} {rule.words}" for rule in rules.values()))
    return rules


def check_postprocess(wanted: Any) -> list[SettingProblem]:
    """What cannot work about the setting ``postprocess``."""
    if isinstance(wanted, bool) or (isinstance(wanted, str) and Path(wanted).expanduser().is_file()):
        return []
    return [SettingProblem("postprocess", wanted, EXPECTED)]


def _of_bundle(carried: Sequence[Any], n_models: int) -> dict[int, LabelRule]:
    if len(carried) < n_models or any(other != carried[0] for other in carried):
        raise ConfigError(
            "postprocess: expected models that bring the same rules, found others; say what is applied: a file or false"
        )
    return parse_rules(carried[0], "rules of the bundle")


def _say_strangers(where: str, rules: Mapping[int, LabelRule], labels: LabelScheme, strict: bool) -> None:
    listed = ", ".join(f"{value} {rule.name}".strip() for value, rule in rules.items())
    known = ", ".join(f"{value} {name}" for value, name in labels.names.items())
    text = f"{where}: the models do not predict {listed}, for which there are rules; they predict {known}"
    if strict:
        raise ConfigError(f"postprocess: {text}")
    log.warning("%s", text)
