"""What `fran <verb> --help` prints: an example, then the settings, those that matter first."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from fran.errors import ConfigError
from fran.workflows.verb_settings import Key, Settings, near_keys, options, settings_of
from fran.workflows.verbs import Verb

INDENT, COLUMN = "  ", 26
FLAGS = (
    ("--cfg job", "print the settings as composed, and do nothing"),
    ("--quiet", "say no more than warnings, errors and the answer"),
)


def verb_help(name: str, verb: Verb) -> str:
    """Help of a verb that is called ``fran <name>``."""
    settings = settings_of(verb)
    blocks = [wrapped(f"fran {name}: {verb.help}", ""), _usage(name, verb)]
    needed = [key for key in settings.own if key.default == "???"]
    blocks += [_block("needed", map(_row, needed))] if needed else []
    blocks += [_block("one of these each", _groups(settings))] if settings.groups else []
    other = [key for key in settings.own if key not in needed and key.name not in ("json", "dry_run")]
    blocks += [_block("settings", map(_row, other))] if other else []
    if settings.further:
        title = f"further (fran help {name} <key> explains, or lists those in it)"
        blocks.append(_block(wrapped(title, ""), [], _further(settings)))
    return "\n\n".join([*blocks, _block("flags", _flags(name, verb, settings))]) + "\n"


def key_help(name: str, verb: Verb, wanted: str) -> str:
    """Help about one setting of a verb, or about those below it; the first parts of its name may be left away.

    Raises:
        ConfigError: there is none of that name.
    """
    settings = settings_of(verb)
    wanted = wanted.partition("=")[0]
    found = [key for key in settings.keys if f"{key.name}.".startswith(f"{wanted}.")]
    group = wanted.replace(".", "/")
    chosen = {group: settings.groups[group]} if group in settings.groups else {}
    known = [*settings.groups, *(key.name for key in settings.keys)]
    if not found and not chosen:
        found = [key for key in settings.keys if f".{wanted}." in f".{key.name}."]
    if not found and not chosen:
        meanings = {key.name: key.meaning for key in settings.keys}
        near = near_keys(wanted, known, f"fran help {name}", meanings)
        raise ConfigError(f"fran help {name}: no setting '{wanted}'; {near}")
    # values of further keys come from plans and groups: only the composed configuration knows them
    rows = [*_groups(Settings(groups=chosen)), *(_row(k) if k in settings.own else (k.name, k.meaning) for k in found)]
    return _block(f"fran {name}, setting{'s' * (len(rows) > 1)} {wanted}", rows) + "\n"


def listed(rows: Iterable[tuple[str, str]], column: int = COLUMN) -> str:
    """Two columns, the second wrapped to the width of the terminal; 80 characters where that cannot be told."""
    width = max(40, min(shutil.get_terminal_size().columns, 110))
    lines: list[str] = []
    for left, right in rows:
        room = width - column - len(INDENT)
        wrapped = textwrap.wrap(right, room, break_long_words=False, break_on_hyphens=False) or [""]
        if len(left) > column - 2:
            lines.append(INDENT + left)
            left = ""
        lines += [f"{INDENT}{'' if n else left:<{column}}{line}".rstrip() for n, line in enumerate(wrapped)]
    return "\n".join(lines)


def wrapped(text: str, indent: str = INDENT) -> str:
    """A paragraph in the width of the terminal."""
    width = max(40, min(shutil.get_terminal_size().columns, 110))
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _usage(name: str, verb: Verb) -> str:
    words = "".join(f" <{word}>" for word in verb.words)
    rest = " --help" if not verb.primary else " [key=value ...]"
    return f"usage:   fran {name}{words}{rest}\nexample: {verb.example}"


def _block(title: str, rows: Iterable[tuple[str, str]], text: str = "") -> str:
    return f"{title}:\n{text or listed(rows)}"


def _row(key: Key) -> tuple[str, str]:
    return f"{key.name}={'…' if key.default == '???' else key.default}", key.meaning


def _groups(settings: Settings) -> list[tuple[str, str]]:
    return [(f"{group}={chosen}", ", ".join(options(group))) for group, chosen in settings.groups.items()]


def _further(settings: Settings) -> str:
    """Names at the root as they are; those inside another as ``trainer.…``."""
    names = [key.name.partition(".")[0] + (".…" if "." in key.name else "") for key in settings.further]
    return wrapped(", ".join(dict.fromkeys(names)))


def _flags(name: str, verb: Verb, settings: Settings) -> Sequence[tuple[str, str]]:
    names = {key.name for key in settings.keys}
    return [
        *([("--dry-run", "say what would be done")] if "dry_run" in names else []),
        *([("--json", "the answer as one JSON document")] if "json" in names else []),
        *(FLAGS if verb.primary else []),
    ]
