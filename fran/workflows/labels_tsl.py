"""`fran labels tsl`: the label table, its columns and its structures."""

from __future__ import annotations

from collections.abc import Iterable

from fran.errors import ConfigError
from fran.labels import LabelTable
from fran.workflows.entry import Job, run_verb
from fran.workflows.label_flow import label_table
from fran.workflows.schema import LabelsTslConfig
from fran.workflows.terminal import say, say_json, show_table


def labels_tsl(job: Job[LabelsTslConfig]) -> None:
    """Print classes, columns and structures."""
    table, wanted = label_table(), (job.config.find or "").lower()
    classes = [row for row in class_rows(table) if any(wanted in cell.lower() for cell in row)]
    structures = [row for row in structure_rows(table) if wanted in row[0].lower()]
    if not classes and not structures:
        raise ConfigError(f"find: nothing in {table.path} has '{job.config.find}' in its name")
    columns = [name for name in table.columns if name != "label_full"]
    heads = ["id", "label_full", *columns]
    if job.config.json:
        named = [name for name in table.structures if wanted in name.lower()]
        values = {name: {column: sorted(table.values(name, column)) for column in table.columns} for name in named}
        say_json(
            {
                "file": table.path,
                "classes": [dict(zip(heads, row, strict=True)) for row in classes],
                "structures": values,
            }
        )
        return
    if classes:
        show_table("Classes: the value of each in every column", heads, classes)
        say("")
    if structures:
        show_table("Structures: TSL.<name>, its values in each column", ["name", "label_full", *columns], structures)
        say("  + with other classes that have the same value there\n")
    if not wanted:
        for column in table.columns.values():
            say(f"TSL.{column.name}: {column.about}")
    say(f"from {table.path}; a copy in conf/labels/ of $FRAN_CONF or ~/fran takes its place")


def class_rows(table: LabelTable) -> list[list[str]]:
    """Id and name, and the value and name in each other column."""
    full = table.columns["label_full"]
    others = [column for name, column in table.columns.items() if name != full.name]
    return [
        [str(i), full.names[i], *(f"{c.values[i]} {c.names[c.values[i]]}" for c in others)] for i in sorted(full.values)
    ]


def structure_rows(table: LabelTable) -> list[list[str]]:
    """Name, class ids, and the values in each other column."""
    return [
        [name, shortened(table.ids(name)), *(_in_column(table, name, c) for c in table.columns if c != "label_full")]
        for name in table.structures
    ]


def _in_column(table: LabelTable, name: str, column: str) -> str:
    mark = " +" if table.others(name, column) else ""
    return shortened(table.values(name, column)) + mark


def shortened(values: Iterable[int]) -> str:
    """Values with runs as ranges.

    Example:
        >>> shortened([1, 2, 3, 7, 9, 10])
        '1-3, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    parts = [[f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run) for run in runs]
    return ", ".join(part for parts_of_run in parts for part in parts_of_run)


def main() -> None:
    """Entry of `fran labels tsl`."""
    run_verb("labels_tsl", LabelsTslConfig, labels_tsl)
