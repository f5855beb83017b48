"""Commands in README.md, docs/ and the help of `fran`, collected from blocks and from inline code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fran.cli import VERBS, Group

REPOSITORY = Path(__file__).resolve().parents[2]
HELP = "fran --help"
# history, not instructions; and a page whose table of commands tests/docs/test_from_nnunet.py composes
LEFT_OUT = {"decisions.md", "legacy.md", "from_nnunet.md"}

PROGRAMS = (
    "fran|python|pip|make|git|cd|source|export|srun|sbatch|mlflow|awk|cat|cp|mkdir|ray|docker|curl|ssh-add|apt-get"
)
SHELL_LINE = re.compile(rf"(\$ |(?:{PROGRAMS})\b(?! = |:)|\.venv/bin/|[A-Z_]+=\S+ )")
# a line of any block that begins like this is a command, whatever the block is
FRAN_LINE = re.compile(r"(\$ )?(srun |[A-Z_]+=\S+ )*(fran [a-z-]+|python (scripts/|train\.py))")
# what a command says, kept in a variable of the shell
IN_VARIABLE = re.compile(r"^\w+=\$\((.*)\)$")
INLINE = re.compile(r"`((?:fran (?!_)[a-z-]+|python scripts/\w+\.py|python train\.py)(?: [^`]*)?)`")
LEFT_OPEN = re.compile(r"\.\.\.|…|<")


@dataclass(frozen=True)
class Command:
    """A command as a reader sees it.

    Attributes:
        page: file name, below docs/ without it.
        line: in that file, counted from 1.
        text: the command without ``$``, comment and line breaks.
        fails: what follows it in the page is an error message.
    """

    page: str
    line: int
    text: str
    fails: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"

    @property
    def is_frans(self) -> bool:
        """Whether it runs fran."""
        return self.text.startswith(("fran ", "python scripts/", "python train.py"))

    @property
    def arguments(self) -> list[str]:
        """Its words; those of a script are the verb's."""
        words = shlex.split(self.text)
        if words[0] == "python":
            stem = Path(words[1]).stem
            return ["fran", {"project_init": "init"}.get(stem, stem.replace("_", "-")), *words[2:]]
        return words

    @property
    def verb(self) -> str:
        """`train`, `plan show`, ...; a group without one of its verbs is itself."""
        words = self.arguments[1:]
        group = VERBS.get(words[0])
        if isinstance(group, Group) and words[1:] and words[1] in group.verbs:
            return " ".join(words[:2])
        return words[0]


def pages() -> list[Path]:
    """Every page that tells a reader what to type."""
    found = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [page for page in found if page.name not in LEFT_OUT]


def every_command() -> list[Command]:
    """Commands of all pages in order, then the examples of the help; each text of a page once."""
    found = [command for page in pages() for command in commands_of(page)]
    return [*{(c.page, c.text): c for c in [*found, *examples()]}.values()]


def examples() -> Iterator[Command]:
    """The examples that `fran --help` prints."""
    for verb in VERBS.values():
        inner = [verb] if not isinstance(verb, Group) else [*filter(None, [verb.default]), *verb.verbs.values()]
        yield from (Command(HELP, 0, one.example) for one in inner)


def commands_of(page: Path) -> Iterator[Command]:
    """Commands of a page: those of its shell blocks, and whole ones in inline code."""
    name = page.relative_to(REPOSITORY / "docs").as_posix() if page.parent != REPOSITORY else page.name
    text = page.read_text(encoding="utf-8")
    for number, lines in blocks(text):
        yield from _of_block(name, number, lines)
    inside = {number + i for number, lines in blocks(text) for i in range(len(lines))}
    for number, line in enumerate(text.splitlines(), 1):
        if number not in inside:
            yield from (Command(name, number, re.split(r" \\?[|>] ", m[1])[0]) for m in INLINE.finditer(line))


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Code blocks with the number of their first line: indented by four, or fenced, Python left out."""
    lines, number = text.splitlines(), 0
    while number < len(lines):
        start = number
        if lines[number].startswith("```"):
            number = next(i for i in range(start + 1, len(lines)) if lines[i].startswith("```"))
            if "python" not in lines[start]:
                yield start + 2, lines[start + 1 : number]
        elif lines[number].startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            yield start + 1, [line[4:] for line in lines[start:number]]
            continue
        number += 1


def python_blocks() -> dict[str, str]:
    """Indented blocks of Python, by ``<page>: <first line>``."""
    return {
        f"{page.name}: {lines[0]}": "\n".join(lines)
        for page in pages()
        for _, lines in blocks(page.read_text(encoding="utf-8"))
        if re.match(r"(from [\w.]+ )?import ", lines[0])
    }


def _of_block(page: str, number: int, lines: list[str]) -> Iterator[Command]:
    """In a block with ``$`` what has none is output; in a shell block every line is a command; elsewhere fran's are."""
    prompts = any(line.startswith("$ ") for line in lines)
    shell = not prompts and bool(lines) and SHELL_LINE.match(lines[0]) is not None
    i = 0
    while i < len(lines):
        first, line = i, lines[i]
        while line.endswith("\\"):
            i += 1
            line = f"{line[:-1].rstrip()} {lines[i].strip()}"
        i += 1
        line = IN_VARIABLE.sub(r"\1", line)
        wanted = line.startswith("$ ") if prompts else (shell and line.strip()) or FRAN_LINE.match(line)
        if wanted:
            shown = lines[i] if i < len(lines) else ""
            text = _without_comment(line.removeprefix("$ ").strip())
            for part in text.split(" && "):
                alone = re.split(r" [|>] ", part)[0] if part.startswith("fran ") else part
                yield Command(page, number + first, alone, prompts and shown.startswith("error:"))


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#\s.*$", "", line)
