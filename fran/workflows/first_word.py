"""The first line of verbs that begin by loading PyTorch: said at once, from the command line alone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from fran.errors import FranError
from fran.parallel.quiet import quiet
from fran.training.launcher import place
from fran.workflows.legacy import hint
from fran.workflows.terminal import fitted
from fran.workflows.verb_settings import folders, settings_of
from fran.workflows.verbs import Verb

SAID: dict[str, tuple[str, ...]] = {
    "train": ("project", "plan", "model", "fold", "run", "resume", "sweep"),
    "cv": ("project", "plan", "model", "folds"),
    "infer": ("project", "runs", "input"),
    "export": ("project", "run", "output"),
    "crops": ("project", "plan"),
    "model ls": ("project", "plan"),
    "model show": ("project", "plan"),
    "postprocess search": ("project", "group", "runs"),
}
"""Verbs that say a first word, and the keys that it names: groups always, other settings where they are typed."""
CONF = {"model ls": "models", "model show": "models", "postprocess search": "postprocess_search"}
"""Primary configurations of those that are not called as these."""
NOTHING_TO_WAIT_FOR = ("-h", "--help", "-q", "--quiet", "--cfg", "-c", "--info", "--hydra-help", "--version", "--json")


def say_first(name: str, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Write what a verb is about to do on standard error, before anything heavy is imported.

    Nothing is said for other verbs, with ``--quiet``, and by processes other than the first of several.

    Args:
        name: of the verb.
        arguments: of the command line, behind the verb.
        environment: of the process.
    """
    flags = {argument.partition("=")[0] for argument in arguments}
    if name not in SAID or flags.intersection(NOTHING_TO_WAIT_FOR) or "quiet=true" in arguments:
        return
    if hint(name, arguments) or quiet(environment) or not _first_of_several(environment):
        return
    sys.stderr.write(fitted(f"{first_word(name, arguments)}\n", sys.stderr))
    sys.stderr.flush()


def first_word(name: str, arguments: Sequence[str]) -> str:
    """What a verb is about to do.

    Example:
        >>> first_word("train", ["project=kits", "fold=2"])
        'fran train: project kits, plan plan1, model dynunet, fold 2; loading PyTorch …'
        >>> first_word("train", ["project=kits", "resume=plan1-dynunet-f0-1"])
        'fran train: project kits, resume plan1-dynunet-f0-1; loading PyTorch …'
        >>> first_word("infer", ["runs=[a,b]", "input=new"])
        'fran infer: project demo, runs [a,b], input new; loading PyTorch …'
        >>> first_word("model ls", ["plan=plan2"])
        'fran model ls: project demo, plan plan2; loading PyTorch …'
    """
    typed = dict(argument.lstrip("+").split("=", 1) for argument in arguments if "=" in argument)
    groups = {} if "resume" in typed else settings_of(Verb(CONF.get(name, name), "", "")).groups
    groups |= chosen_by_preset(typed["preset"], arguments) if "preset" in typed else {}
    known = {"project": "demo", **groups, **typed}
    return f"fran {name}: {', '.join(f'{key} {known[key]}' for key in SAID[name] if key in known)}; loading PyTorch …"


def chosen_by_preset(preset: str, arguments: Sequence[str]) -> dict[str, str]:
    """Options of configuration groups that a preset's file chooses, one in a folder of ``--config-dir`` first."""
    named = [Path(value or after) for flag, value, after in _flags(arguments) if flag in ("--config-dir", "-cd")]
    places = [*named, *(folder / "conf" for folder in named), *folders()]
    file = next((f for place in places if (f := place / "preset" / f"{preset}.yaml").is_file()), None)
    text = file.read_text(encoding="utf-8") if file else ""
    return dict(re.findall(r"^  - override /([\w/]+): *(\S+)", text, re.MULTILINE))


def _flags(arguments: Sequence[str]) -> list[tuple[str, str, str]]:
    """Every word as flag, value behind "=", and the word after it."""
    return [(*argument.partition("=")[::2], after) for argument, after in pairwise([*arguments, ""])]


def _first_of_several(environment: Mapping[str, str]) -> bool:
    try:
        here = place(environment)
    except FranError:
        return True  # the verb says it
    return here is None or here.rank == 0
