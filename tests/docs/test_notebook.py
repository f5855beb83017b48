"""The notebook of the pages: what it shows is there to read, and a run today shows things of the same form."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "first_project.ipynb"


def module(path: Path) -> Any:
    """A Python file of the pages, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def forms(cell: Any) -> Iterator[tuple[str, int, int]]:
    """What a cell shows, without its figures: text by its lines, a table by rows and columns, a picture."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.name, len(output.text.splitlines()), 0
        elif output.output_type == "error":
            yield "error", 0, 0
        elif "image/png" in output.data:
            picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("L")
            yield "picture", int(len(set(picture.tobytes())) > 20), int(picture.width > picture.height)
        elif "text/html" in output.data:
            table = output.data["text/html"]
            yield "table", table.count("<tr"), table.partition("</tr>")[0].count("<th")
        else:
            yield "text", len(output.data["text/plain"].splitlines()), 0


def test_what_is_kept_is_a_whole_run() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    shown = [form for cell in code_cells(notebook) for form in forms(cell)]
    assert [form for form in shown if form[0] == "picture"] == [("picture", 1, 1)] * 3
    assert sum(kind == "table" for kind, _, _ in shown) == 3
    # what goes to standard error depends on the machine, and names its folders
    assert {kind for kind, _, _ in shown} == {"stdout", "text", "table", "picture"}, "python docs/notebooks/run.py"
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not re.search(r"/tmp/|/home/|Traceback", text)


def test_its_page_has_text_code_and_what_the_code_showed() -> None:
    page = module(REPOSITORY / "docs" / "hooks.py").pages()[f"notebooks/{NOTEBOOK.stem}.md"]
    assert page.startswith("# A first project")
    notebook = nbformat.read(NOTEBOOK, 4)
    assert page.count("```python\n") == len(code_cells(notebook))
    assert page.count("<img alt=") == 3
    assert page.count("<table") == 3
    assert "run = fran.train(" in page
    assert "<style" not in page


@pytest.mark.slow
def test_it_runs_and_shows_things_of_the_same_form(
    fran_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    here = tmp_path / "here"
    here.mkdir()
    # a cell that raises ends this with its traceback
    again = module(NOTEBOOK.with_name("run.py")).executed(NOTEBOOK, here)
    for before, now in zip(code_cells(nbformat.read(NOTEBOOK, 4)), code_cells(again), strict=True):
        assert list(forms(now)) == list(forms(before)), now.source
    assert not list(here.iterdir()), "the notebook left files where it was opened"
    assert not fran_home.exists()
