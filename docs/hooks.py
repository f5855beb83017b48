"""What MkDocs does beside rendering: pages made from the code and from notebooks, and links that leave docs/.

``reference/commands.md`` and ``reference/groups.md`` are made from the verbs and the configuration files,
``changelog.md`` is CHANGELOG.md, ``notebooks/<name>.md`` is the notebook of that name with what its cells showed. None
of them is kept in the repository, so none can fall behind.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = re.compile(r"(\]\([\w/.]*\bnotebooks/\w+)\.ipynb(\))")
LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)((?:#[^)\s]*)?\))")


class Examples(griffe.Extension):
    """Docstrings say ``Example:``; griffe knows doctests by ``Examples:`` alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Give the section the name that is known."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to files outside docs/ lead to the repository, those to a notebook to its page."""

    def outside(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[2]))
        if path.startswith("docs/"):
            return match[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{match[1]}{config.repo_url}/{kind}/main/{path}{match[3]}"

    return NOTEBOOK.sub(r"\1.md\2", LINK.sub(outside, markdown))


def pages() -> dict[str, str]:
    """Markdown by path below docs/."""
    return {
        "reference/commands.md": commands(),
        "reference/groups.md": groups(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        **{f"notebooks/{file.stem}.md": notebook(file) for file in sorted((ROOT / "docs/notebooks").glob("*.ipynb"))},
    }


def notebook(file: Path) -> str:
    """A notebook as a page: its text, its code, and what the code showed, with pictures inside the page."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    parts, first = [], True
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            if first:
                parts.append(f"[The notebook]({file.name}), to download and run: `jupyter lab {file.name}`.")
            first = False
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [shown for output in cell["outputs"] if (shown := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    """What a cell showed: a picture, a table, or text; what it said on standard error is left out."""
    if output["output_type"] == "stream":
        return _text("".join(output["text"])) if output["name"] == "stdout" else ""
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    if "image/png" in data:
        return f'<img alt="what the cell above draws" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>|\n\s*", "", data["text/html"], flags=re.DOTALL)
        return table.replace(' border="1"', "")
    return _text(data.get("text/plain", ""))


def _text(said: str) -> str:
    return f'<pre class="output">{html.escape(said.rstrip())}</pre>'


def commands() -> str:
    """Every verb of the command line with its line of help and an example."""
    from fran.cli import VERBS
    from fran.workflows.verbs import Verb

    lines = [
        "# Commands",
        "",
        "Every command takes `key=value` settings, `--help` and `--cfg job`; see [configuration](../configuration.md).",
    ]
    for name, verb in VERBS.items():
        lines += ["", f"## fran {name}", "", _sentence(verb.help)]
        if isinstance(verb, Verb):
            lines += ["", f"    {verb.example}"]
            continue
        inner = {f"fran {name}": verb.default} if verb.default else {}
        inner |= {f"fran {name} {word}": one for word, one in verb.verbs.items()}
        lines += ["", "| command | does | example |", "|---|---|---|"]
        lines += [f"| `{full}` | {_cell(one.help)} | `{_cell(one.example)}` |" for full, one in inner.items()]
    return "\n".join(lines) + "\n"


def groups() -> str:
    """Every configuration group, its files and what the first line of each says."""
    lines = [
        "# Configuration groups",
        "",
        "`group=option` on the command line picks a file; `~/fran/conf/<group>/<option>.yaml` adds one of yours.",
    ]
    conf = ROOT / "conf"
    for folder in sorted({file.parent for file in conf.rglob("*.yaml") if file.parent != conf}):
        group = folder.relative_to(conf).as_posix()
        rows = [
            f"| `{group}={file.stem}` | {_cell(_comment(file))} |"
            for file in sorted(folder.glob("*.yaml"))
            if not file.stem.startswith("_")
        ]
        if rows and not group.startswith("hydra"):
            lines += ["", f"## {group}", "", "| choose | what it is |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _comment(file: Path) -> str:
    """The comment that a configuration file begins with."""
    said = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            said.append(line.removeprefix("#").strip())
    return " ".join(said)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
