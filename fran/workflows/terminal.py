"""How fran speaks on a terminal."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import select
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fran.errors import ConfigError, choices
from fran.parallel.quiet import QUIET, quiet

if TYPE_CHECKING:
    from rich.console import Console

    from fran.datasources.verdicts import Quality
    from fran.parallel.progress import Update


FLAGS = (
    *("--help", "-h", "--quiet", "-q", "--json", "--dry-run", "--cfg", "-c", "--multirun", "-m", "--run", "-r"),
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--resolve", "--info"),
    *("-i", "--hydra-help", "--version", "--shell-completion", "-sc", "--experimental-rerun"),
)
"""Of fran and of Hydra."""


WITH_VALUE = ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--config-name", "-cn", "--config-path", "-cp")
"""Flags whose value is the next word, where it is not behind "="."""

COMMAND = re.compile(
    r"\bfran(?: [a-z][\w-]*(?![\w=./-])){1,2}(?: +(?:[\w./@+~-]+=(?:'[^']*'|<[^>]*>|\S+)|'[^']*'|--?[a-z]\S*))*"
)
"""A command line within a sentence; it stays on one line, so that it can be copied."""


def fitted(text: str, stream: TextIO) -> str:
    """`text` with its long lines broken between words, where `stream` is a terminal; as it is where it is not."""
    if not stream.isatty():
        return text
    return "\n".join(wrapped_line(line, shutil.get_terminal_size().columns) for line in text.split("\n"))


def wrapped_line(line: str, width: int) -> str:
    """A line broken between words; no word or path is ever parted, and a command so that it can be copied.

    Example:
        >>> print(wrapped_line("  recommended: patch_dim0=80 (why: fran project properties project=kits)", 48))
          recommended: patch_dim0=80 (why:
            fran project properties project=kits)
    """
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    whole = COMMAND.sub(lambda match: match[0].replace(" ", "\0"), line.strip())
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    wrapped = textwrap.wrap(whole, width, initial_indent=indent, subsequent_indent=f"{indent}  ", **how)
    lines = [part.replace("\0", " ") for part in wrapped]
    return "\n".join(continued(part, width) if part.lstrip().startswith("fran ") else part for part in lines)


def continued(command: str, width: int) -> str:
    """A command line as a shell takes it, over several lines where it is long.

    Example:
        >>> print(continued("fran train project=demo 'runs=[a, b]'", 30))
        fran train project=demo \\
            'runs=[a, b]'
    """
    if len(command) <= width:
        return command
    indent = " " * (len(command) - len(command.lstrip()))
    first, *words = re.findall(r"(?:'[^']*'|[^\s'])+", command)
    lines = [indent + first]
    for word in words:
        if len(f"{lines[-1]} {word} \\") > width and lines[-1].strip() not in ("$", "fran"):
            lines[-1] += " \\"
            lines.append(f"{indent}    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


class TerminalFormatter(logging.Formatter):
    """The bare message, with the level in front of warnings and errors, broken between words on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = super().format(record)
        return fitted(f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text, sys.stderr)


class TerminalHandler(logging.StreamHandler[Any]):
    """Writes to what is stderr at that time, so that a line comes above a progress bar; with --quiet only warnings."""

    def __init__(self) -> None:
        logging.Handler.__init__(self, logging.WARNING if quiet() else logging.NOTSET)

    @property
    def stream(self) -> Any:
        """Where to."""
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        """Nothing: it is always stderr."""


def spoken(arguments: Sequence[str]) -> list[str]:
    """A command line without what concerns the terminal alone: --quiet is remembered, --json is the setting.

    In ``key=~/folder`` bash writes the home folder out, zsh does not, and Hydra's grammar has no ``~`` there.

    Raises:
        ConfigError: a flag that neither fran nor Hydra has.
    """
    for flag in (argument.partition("=")[0] for argument in arguments if argument.startswith("-")):
        if flag not in FLAGS and not flag[1:].replace(".", "").isdecimal():
            raise ConfigError(f"{flag}: no such flag; {choices(flag, [f for f in FLAGS if f.startswith('--')])}")
    silent = {"--quiet", "-q", "quiet=true"}
    if silent.intersection(arguments):
        os.environ[QUIET] = "1"
    kept = ["json=true" if argument == "--json" else argument for argument in arguments if argument not in silent]
    return [re.sub(r"^([\w./@]+=)~(?=/|$)", lambda m: f"{m[1]}{Path.home()}", argument) for argument in kept]


def flags_last(arguments: Sequence[str]) -> list[str]:
    """A command line with its settings together, as Hydra wants them; flags with what belongs to them come behind.

    Example:
        >>> flags_last(["plan=plan3", "--config-dir", "mine", "project=kits", "--cfg", "job", "-m"])
        ['plan=plan3', 'project=kits', '--config-dir', 'mine', '--cfg', 'job', '-m']
    """
    settings: list[str] = []
    flags: list[str] = []
    takes_value = False
    for argument in arguments:
        is_flag = takes_value or argument.startswith("-")
        (flags if is_flag else settings).append(argument)
        takes_value = not takes_value and argument in WITH_VALUE
    return [*settings, *flags]


LEAST_STRIP = 24
"""Columns in which prose can still be read."""


def show_quality(quality: Quality, title: str) -> None:
    """Verdicts on stdout: in colours on a terminal, as they are where they are piped or written to a file."""
    from rich.text import Text

    from fran.datasources.verdicts import lines

    styles = {"error": "bold red", "warning": "yellow", "note": "cyan", None: ""}
    console = answer_console()
    for line in lines(quality, title):
        console.print(Text(fitted(line.text, sys.stdout), style=styles[line.severity]), soft_wrap=True)


@contextmanager
def counting(description: str, unit: str = "case") -> Iterator[Update]:
    """Progress on stderr; call what it yields with (done, total)."""
    from fran.parallel.progress import progress

    with progress(description, unit) as update:
        yield update


@contextmanager
def transferring(description: str) -> Iterator[Callable[[int, int], None]]:
    """Progress over bytes on stderr; call what it yields with (done, total)."""
    with counting(description, "MB") as update:
        yield lambda done, total: update(done / 1e6, total / 1e6)


def say(text: str) -> None:
    """A line of a verb's answer, on standard output; what it does meanwhile is logged."""
    say_as_it_is(fitted(text, sys.stdout))


def say_as_it_is(text: str) -> None:
    """The same for what no line may be broken of."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        if reader_gone():
            sys.exit(0)
        raise


def reader_gone() -> bool:
    """Whether who read the answer, `head` for instance, has seen enough; nothing complains of it any more."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's own flush would complain too
    return True


def answer_console() -> Console:
    """Standard output with colours, where it is a terminal and NO_COLOR does not forbid them."""
    from rich.console import Console

    class Answer(Console):
        def on_broken_pipe(self) -> None:
            reader_gone()
            sys.exit(0)

    return Answer()


def say_json(content: Any) -> None:
    """The whole answer as one JSON document on standard output; what is not a number becomes null."""
    say_as_it_is(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False, default=str))


def _plain(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; without lines and never wrapped where the output is piped.

    On a terminal only the column with the longest cell is wrapped; where that would be a narrow strip, or part a word
    or path, its cells stand below their rows, and so do those of other long columns that have no room.
    """
    from fran.evaluation.narrow import plain_table

    cells = [[str(cell) for cell in row] for row in rows]
    if title:
        say(title)  # not the table's own title, which wraps at the table's width
    if sys.stdout.isatty():
        _show_on_terminal(answer_console(), columns, cells)
    else:
        say(plain_table(columns, cells))


def _show_on_terminal(console: Console, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    longest = widths.index(max(widths))
    left = console.width - (sum(widths) - widths[longest]) - 2 * len(widths)  # what the longest may take
    word = max((len(part) for row in cells for part in row[longest].split()), default=0)
    if left < min(widths[longest], max(LEAST_STRIP, word)):
        _show_in_blocks(console, columns, cells, widths)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number != longest, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _show_in_blocks(
    console: Console, columns: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    """Rows of the columns that have room, each with the longest cells below it."""
    from rich.padding import Padding
    from rich.text import Text

    kept = list(range(len(columns)))
    below = list[int]()
    for number in sorted(kept[1:], key=lambda n: -widths[n]):
        if not below or sum(widths[n] + 2 for n in kept) - 2 > console.width:
            kept.remove(number)
            below.append(number)
    lines = ["  ".join(row[n].ljust(widths[n]) for n in kept).rstrip() for row in (columns, *cells)]
    console.print(Text(lines[0], style="bold"))
    for line, row in zip(lines[1:], cells, strict=True):
        console.print(Text(line))
        for number in sorted(below):
            text = f"{columns[number]}: {row[number]}" if len(below) > 1 else row[number]
            if max(map(len, text.split()), default=0) > console.width - 4:  # a path that can still be copied
                console.print(Text(f"    {text}", style="dim"), soft_wrap=True)
            elif row[number] or len(below) == 1:
                console.print(Padding(Text(text, style="dim"), (0, 0, 0, 4)))
