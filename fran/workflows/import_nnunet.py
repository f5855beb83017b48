"""`fran import-nnunet`: a data set of nnU-Net as a project, with the folds that nnU-Net has given it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fran.errors import ConfigError
from fran.workflows import init
from fran.workflows.entry import Job, put_in_words, run_verb
from fran.workflows.schema import ImportNnunetConfig
from fran.workflows.sources import free_words

log = logging.getLogger("fran.import")

_PREPROCESSED = "nnUNet_preprocessed"
_NAME = re.compile(r"(?:Dataset|Task)\d{3}_(.+)|Task\d\d_(.+)")


def import_nnunet(job: Job[ImportNnunetConfig]) -> None:
    """`fran init` for one folder in nnU-Net's layout, with the folds of its splits_final.json where there is one."""
    from fran.datasources import nnunet

    if len(job.config.folders) != 1:
        raise ConfigError(f"folder: expected one data set, found {job.config.folders}; import one after the other")
    folder = Path(job.config.folders[0]).expanduser().absolute()
    if not nnunet.is_one(folder):
        raise ConfigError(
            f"folder: expected a data set of nnU-Net, with imagesTr/, labelsTr/, dataset.json, found none in {folder}"
            f"; other layouts: fran init -i {folder}"
        )
    init.add(job, _splits(folder, job.config.splits), job.config.reassign)


def _splits(folder: Path, given: str | None) -> Path | None:
    """The file with the folds: the one that is named, or the first that is where nnU-Net keeps it."""
    from fran.projects.splits_file import FILE

    if given is not None:
        return None if given == "none" else Path(given)
    roots = [os.environ.get(_PREPROCESSED), folder.parent.parent / _PREPROCESSED]
    places = [*(Path(root) / folder.name / FILE for root in roots if root), folder / FILE]
    for place in places:
        if place.is_file():
            log.info("folds: as in %s", place)
            return place
    where = ", ".join(str(place.parent) for place in places)
    log.info("folds: no %s in %s: fran deals them; splits=<file> names one", FILE, where)
    return None


def translate(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides for a command line with the data set's folder in it, whose name is the project's by default.

    Example:
        >>> translate(["/data/Dataset004_Liver", "channel=0"])
        ['project=_new', 'project.title=liver', "folders=['/data/Dataset004_Liver']", 'channel=0']
    """
    folders = free_words(arguments)
    named = any(a in ("-t", "--title") or a.startswith(("project=", "project.title=")) for a in arguments)
    title = [] if named or not folders else ["-t", _title(Path(folders[0]))]
    rest = [a for a in arguments if a not in folders]
    return init.translate([*title, *rest, *(["-i", *folders] if folders else [])])


def _title(folder: Path) -> str:
    match = _NAME.fullmatch(folder.name)
    return re.sub(r"[^A-Za-z0-9]+", "_", (match[1] or match[2]) if match else folder.name).strip("_").lower()


def main() -> None:
    """Entry of `fran import-nnunet`."""
    put_in_words(translate)
    run_verb("import_nnunet", ImportNnunetConfig, import_nnunet)
