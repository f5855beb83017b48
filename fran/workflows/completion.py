"""`fran completion <shell>`: what Tab offers, without Hydra and torch, so that it comes at once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fran.workflows.verbs import Group, Verb, Verbs

SHELLS = {
    "bash": r"""# fran's completion for bash; in ~/.bashrc: eval "$(fran completion bash)"
_fran() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\t'*}")
    done < <("$1" completion --line bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    [[ ${COMPREPLY[0]-} == *[=./,] || ${COMPREPLY[0]-} == *"["* ]] && compopt -o nospace
    return 0
}
complete -F _fran fran
""",
    "zsh": r"""#compdef fran
# fran's completion for zsh; in ~/.zshrc after compinit: eval "$(fran completion zsh)"
_fran() {
    local line word
    local -a ended open ended_said open_said
    for line in "${(@f)$("$words[1]" completion --line zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}"; do
        word="${line%%$'\t'*}"
        [[ -z $word ]] && continue
        if [[ $word == *[=./,] || $word == *'['* ]]; then
            open+=("$word") open_said+=("${line/$'\t'/  }")
        else
            ended+=("$word") ended_said+=("${line/$'\t'/  }")
        fi
    done
    (( $#open )) && compadd -l -S '' -d open_said -a open
    (( $#ended )) && compadd -l -d ended_said -a ended
    return 0
}
compdef _fran fran
""",
    "fish": r"""# fran's completion for fish; once: fran completion fish > ~/.config/fish/completions/fran.fish
function __fran_complete
    set -l words (commandline -opc)
    $words[1] completion --line fish (commandline -cp | string collect) 2>/dev/null
end
complete -c fran -f -a '(__fran_complete)'
""",
}

USAGE = """fran completion: what Tab offers

usage: fran completion bash|zsh|fish

The script goes to standard output. It completes verbs, their settings, and names of plans, networks, projects and runs.
  bash   in ~/.bashrc:                 eval "$(fran completion bash)"
  zsh    in ~/.zshrc, after compinit:  eval "$(fran completion zsh)"
  fish   once:                         fran completion fish > ~/.config/fish/completions/fran.fish
"""

RUNS = ("run", "runs", "compare", "resume", "init_from", "localiser")
PATHS = ("input", "output", "pred", "gt", "folder", "folders", "out", "scratch", "imported_folder", "from", "to")
VALUES = {
    "fold": ("0", "1", "2", "3", "4", "all"),
    "mode": ("source", "whole", "lbd", "rbd", "pbd", "sourcepbd"),
    "checkpoint": ("best", "last"),
    "ensemble": ("mean", "vote"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "32", "bf16", "16"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.cache": ("none", "ram", "device"),
    "backend": ("local", "ray"),
    "preprocess.backend": ("local", "ray"),
    "ray_address": ("auto", "local"),
    "preprocess.ray_address": ("auto", "local"),
}
FLAGS = ("--help", "--cfg job", "--quiet", "--json", "--dry-run")

Candidate = tuple[str, str]
"""The word, and a description."""


def complete(verbs: Verbs, words: Sequence[str]) -> Iterator[Candidate]:
    """What the last of the words, which may be empty, can become, with a description.

    Args:
        verbs: of the command line.
        words: of the command line without the program's name, unquoted.
    """
    *before, last = words
    asked = before[:1] == ["help"]
    before = before[asked:]
    if not before:
        if not asked:
            yield from _starting([("help", "a verb, or what one of its settings means")], last)
        yield from _starting(((word, verb.help) for word, verb in verbs.items()), last)
        return
    entry, rest = verbs.get(before[0]), before[1:]
    if isinstance(entry, Group):
        if not rest:
            yield from _starting(((word, verb.help) for word, verb in entry.verbs.items()), last)
        entry, rest = (entry.verbs[rest[0]], rest[1:]) if rest and rest[0] in entry.verbs else (entry.default, rest)
    if entry is not None:
        yield from _starting(_arguments(entry, rest, last), last)


def _starting(candidates: Iterable[Candidate], prefix: str) -> Iterator[Candidate]:
    return (c for c in candidates if c[0].startswith(prefix))


def _arguments(verb: Verb, before: Sequence[str], last: str) -> Iterator[Candidate]:
    """Settings, or values of the one that is being typed."""
    key, equals, value = last.partition("=")
    if verb.module == "completion":
        yield from ((shell, "") for shell in SHELLS)
    elif before[-1:] == ["-t"]:
        yield from ((title, "") for title in _values("project", verb, before, ""))
    elif not verb.primary or _after_input(before):
        yield from ((path, "") for path in _paths(last))
    elif equals:
        listed = re.match(r"(\[?(?:[^,\]]*,)*)", value)
        head = listed[1] if listed and (value.startswith("[") or "," in value) else ""
        yield from ((f"{key}={head}{name}", "") for name in _values(key, verb, before, value[len(head) :]))
    elif last.startswith("-"):
        yield from ((flag, "") for flag in FLAGS)
    else:
        yield from _bare(verb, before, last)
        yield from _keys(verb, before, last)


def _after_input(before: Sequence[str]) -> bool:
    """Whether ``-i`` is being given folders."""
    flags = [word for word in before if word.startswith("-")]
    return flags[-1:] in (["-i"], ["--input"]) and "=" not in before[-1]


def _bare(verb: Verb, before: Sequence[str], last: str) -> Iterator[Candidate]:
    """Values that may stand without their key."""
    given = [word for word in before if "=" not in word and not word.startswith("-")]
    several = verb.words[-1:] and verb.words[-1].endswith("…")
    left = verb.words[-1:] if several and len(given) >= len(verb.words) else verb.words[len(given) :]
    for word in left[:1]:
        yield from ((value, "") for value in _values(word.rstrip("…"), verb, before, last))


def _keys(verb: Verb, before: Sequence[str], last: str) -> Iterator[Candidate]:
    from fran.workflows.verb_settings import options, settings_of

    settings = settings_of(verb)
    given = {word.partition("=")[0] for word in before}
    known = {group: ", ".join(options(group)) for group in settings.groups}
    known |= {key.name: key.meaning for key in settings.keys}
    level, found = last.count("."), dict[str, str]()
    for name, meaning in known.items():
        parts = name.split(".")
        short = ".".join(parts[: level + 1])
        if name not in given:
            found |= {f"{short}=": meaning} if len(parts) <= level + 1 else {f"{short}.": ""}
    yield from found.items()


def _values(key: str, verb: Verb, before: Sequence[str], prefix: str) -> Iterable[str]:
    """Values of a key that begin with what is typed; nothing where any will do."""
    from fran.workflows.verb_settings import options, settings_of

    if key in ("against", "plan"):
        return options("plan")
    if key in RUNS:
        return [*_runs(before), *(_paths(prefix) if "/" in prefix else [])]
    if key in VALUES:
        return VALUES[key]
    if key in PATHS or key.startswith("paths."):
        return _paths(prefix)
    settings = settings_of(verb)
    if key in settings.groups or "/" in key or key == "datasource":
        return [*options(key), *(_paths(prefix) if "/" in prefix else [])]
    kind = next((k.kind for k in settings.keys if k.name == key), "")
    return ("true", "false") if kind == "bool" else _paths(prefix) if prefix[:1] in ("/", ".", "~") else ()


def _runs(before: Sequence[str]) -> list[str]:
    """Names of the project's runs, the newest first."""
    from fran.workflows.locations import folder_for

    given = dict(word.split("=", 1) for word in before if "=" in word)
    root = given.get("paths.checkpoints") or folder_for(
        "checkpoints", f"{given.get('paths.cold') or folder_for('cold')}/checkpoints"
    )
    try:
        runs = [entry for entry in os.scandir(Path(root) / given.get("project", "demo")) if entry.is_dir()]
    except OSError:
        return []
    return [
        run.name for run in sorted(runs, key=lambda run: -run.stat().st_mtime) if not run.name.startswith((".", "_"))
    ]


def _paths(prefix: str) -> list[str]:
    """Files and folders, the latter with a slash at their end."""
    head, slash, tail = prefix.rpartition("/")
    try:
        entries = sorted(os.scandir(Path(f"{head}{slash}" or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return []
    shown = [entry for entry in entries if tail.startswith(".") or not entry.name.startswith(".")]
    return [f"{head}{slash}{entry.name}{'/' if entry.is_dir() else ''}" for entry in shown]


def split(line: str) -> tuple[list[str], bool]:
    """Words of a command line that may end within quotes, unquoted; and whether it does.

    Example:
        >>> split("fran infer 'runs=[a b")
        (['fran', 'infer', 'runs=[a b'], True)
        >>> split("fran train ")
        (['fran', 'train', ''], False)
    """
    words, quote, escaped = [""], "", False
    for char in line:
        if escaped:
            words[-1] += char
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            if char == quote:
                quote = ""
            else:
                words[-1] += char
        elif char in "\"'":
            quote = char
        elif not char.isspace():
            words[-1] += char
        elif words[-1]:
            words.append("")
    return words, bool(quote)


def answer(verbs: Verbs, shell: str, line: str, replaced: str | None = None) -> Iterator[str]:
    """Lines for the shell: a candidate, a tab, a description.

    Args:
        verbs: of the command line.
        shell: one of `SHELLS`.
        line: the command line up to the cursor.
        replaced: the end of the word that bash will replace; bash parts words at ``=`` and ``:`` too.
    """
    words, quoted = split(line)
    found = list(complete(verbs, words[1:] or [""]))
    if shell == "bash" and len(found) == 1 and "[" in found[0][0]:  # bash would close the quote behind the only one
        found = [(f"{found[0][0]}{end}", "") for end in ",]"]
    for text, about in found:
        said = text
        if shell == "bash":
            kept = len(words[-1]) - len(replaced or "") if words[-1].endswith(replaced or "") else 0
            said = text[kept:] if quoted else re.sub(r"([\s'\"\\$`()&;<>|*?#!{}])", r"\\\1", text[kept:])
        yield f"{said}\t{' '.join(about.split())}"


def main(verbs: Verbs, arguments: Sequence[str]) -> None:
    """Entry of `fran completion`: the script of a shell, or what the script asks for."""
    if arguments[:1] == ["--line"]:
        sys.stdout.writelines(f"{line}\n" for line in answer(verbs, *arguments[1:4]))
    elif not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
    elif arguments[0] in SHELLS:
        sys.stdout.write(SHELLS[arguments[0]])
    else:
        from fran.errors import choices

        sys.stderr.write(f"error: fran completion: no shell '{arguments[0]}'; {choices(arguments[0], list(SHELLS))}\n")
        sys.exit(2)
