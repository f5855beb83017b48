"""Programs and flags of the older fran on a command line, answered with what is typed today (docs/legacy.md)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

OLD_PROGRAMS = {
    "project_init": "init",
    "analyze_resample": "preprocess",
    "ensemble": "infer",
    "ensemble_singlegpu": "infer",
    "scoring": "score",
}
"""And the verbs that do their work."""
OLD_FLAGS = ("-t", "-i", "-p", "-e", "-n", "-s", "-po", "--half_precision", "--debug")
_ALONE = ("--half_precision", "--debug")
_TAKEN = dict.fromkeys(("init", "add-data", "import-nnunet"), ("-t", "-i", "-n"))
"""Old flags that a verb still has."""
_OF_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
"""What stands behind -i where it is Hydra's --info."""


def old_program(word: str, arguments: Sequence[str]) -> str:
    """The command line of today for one that begins with an old program; empty for any other word.

    Example:
        >>> old_program("project_init", ["-t", "kits", "-i", "raw/kits"])
        'fran init -t kits -i raw/kits'
        >>> old_program("analyze_resample.py", ["-t", "kits", "-p", "plan1", "-n", "8"])
        'fran preprocess project=kits plan=plan1 preprocess.num_processes=8'
    """
    verb = OLD_PROGRAMS.get(re.sub(r"\.(py|sh)$", "", word), "")
    return verb and today(verb, arguments)


def old_flags(verb: str, arguments: Sequence[str]) -> list[str]:
    """Flags that only the older fran had there; Hydra's ``-p`` (with ``--cfg``) and ``-i`` are none of them.

    Example:
        >>> old_flags("train", ["-t", "kits", "-p", "plan1"]), old_flags("init", ["-t", "kits"])
        (['-t', '-p'], [])
        >>> old_flags("train", ["--cfg", "job", "-p", "trainer"]), old_flags("train", ["-i", "defaults"])
        ([], [])
    """
    hydras = {"-p"} if {"--cfg", "-c"}.intersection(arguments) else set()
    behind = [after for flag, after in pairwise([*arguments, ""]) if flag == "-i"]
    if any(not after or "=" in after or after in _OF_INFO for after in behind):
        hydras.add("-i")
    return [a for a in arguments if a in OLD_FLAGS and a not in hydras and a not in _TAKEN.get(verb, ())]


def today(verb: str, arguments: Sequence[str]) -> str:
    """A command line with old flags as it is typed today.

    Example:
        >>> today("train", ["-t", "kits", "-p", "plan1", "trainer.max_epochs=5"])
        'fran train project=kits plan=plan1 trainer.max_epochs=5'
        >>> today("infer", ["-e", "run1", "run2", "-i", "new", "-t", "kits"])
        "fran infer 'runs=[run1,run2]' input=new project=kits"
    """
    words: list[str] = []
    rest = list(arguments)
    old = old_flags(verb, arguments)
    while rest:
        flag = rest.pop(0)
        if flag not in old:
            words.append(flag)
            continue
        values = []
        while flag not in _ALONE and rest and not rest[0].startswith("-") and "=" not in rest[0]:
            values.append(rest.pop(0))
        words += _settings(verb, flag, values)
    return shlex.join(["fran", *verb.split(), *words])


def hint(verb: str, arguments: Sequence[str]) -> str:
    """What is said of a command line with old flags; empty for one without."""
    old = old_flags(verb, arguments)
    if not old:
        return ""
    now = today(verb, arguments)
    return f"{', '.join(old)}: settings are key=value now; type {now}   (all old names: docs/legacy.md)"


def _settings(verb: str, flag: str, values: Sequence[str]) -> list[str]:
    if flag == "-i" and verb == "check":
        return [*values]
    if flag == "-p" and values and values[0].isdecimal():
        return [f"patch_dim{n}={value}" for n, value in enumerate(values[:2])]
    one, listed = values[0] if values else "…", f"[{','.join(values)}]"
    new = {
        **{"-t": f"project={one}", "-p": f"plan={one}", "-i": f"input={one}", "-e": f"runs={listed}"},
        **{"-n": f"preprocess.num_processes={one}", "-s": f"spacing={listed}", "-po": f"patch_overlap={one}"},
        **{"--half_precision": "half_precision=true", "--debug": "preprocess.num_processes=1"},
    }
    return [new[flag]]
