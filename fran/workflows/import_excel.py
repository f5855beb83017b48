"""`fran import-excel`: configuration files from a workbook of the old program."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fran.errors import ConfigError, FranError, problems_table
from fran.excel.importer import Imported, import_workbook
from fran.excel.report import as_json, as_markdown, summary_lines
from fran.excel.write import Written, write_files
from fran.io.files import atomic_path
from fran.workflows.locations import conf_dir

_GROUPS = ("model", "trainer", "augmentation", "preset")
_EPILOG = """examples:
  fran import-excel experiment_configs.xlsx --out my_conf
  fran train --config-dir my_conf/conf plan=liver_plan1 --cfg job

my_conf/conf holds plans, model, trainer, augmentation, preset and search space; my_conf/import_report.md says of every
cell of the workbook what became of it. Importing again updates the files, but not those that you changed."""


def main() -> None:
    """Import the workbook named on the command line.

    Exit statuses: 0 everything was imported, 1 the file or some cells cannot be read (the other plans are written), 2
    the arguments cannot work, 130 interrupted.
    """
    arguments = _arguments(sys.argv[1:])
    try:
        status = _run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command starts again\n")
        status = 130
    except FranError as error:
        sys.stderr.write(f"error: {error}\n")
        status = 2 if isinstance(error, ConfigError) else 1
    except OSError as error:
        sys.stderr.write(
            f"error: {error.filename}: expected to write there, found: {error.strerror}; name another --out\n"
        )
        status = 1
    sys.exit(status)


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fran import-excel",
        description="Write a workbook of the old program as configuration files, with a report of every cell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workbook", type=Path, help="an .xlsx or .xlsm file of any generation")
    parser.add_argument("--out", type=Path, required=True, help="folder for conf/ and the report")
    parser.add_argument("--force", action="store_true", help="replace files that were changed by hand too")
    parser.add_argument("--report", type=Path, help="where the report goes (default: OUT/import_report.md, and .json)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a summary")
    return parser.parse_args(given)


def _run(arguments: argparse.Namespace) -> int:
    imported = import_workbook(arguments.workbook, shipped_options())
    written = write_files(imported, arguments.out, force=arguments.force)
    report = arguments.report or arguments.out / "import_report.md"
    plain = json.dumps(as_json(imported, written), indent=1, ensure_ascii=False) + "\n"
    _write(report, as_markdown(imported, written))
    _write(report.with_suffix(".json"), plain)
    sys.stdout.write(plain if arguments.json else _summary(imported, written, arguments.out, report))
    return _problems(imported, report)


def shipped_options() -> dict[str, list[str]]:
    """Group to the names of the options that come with fran."""
    return {group: sorted(file.stem for file in (conf_dir() / group).glob("*.yaml")) for group in _GROUPS}


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _summary(imported: Imported, written: Written, out: Path, report: Path) -> str:
    lines = [*summary_lines(imported, written), f"report: {report}"]
    folder = shlex.quote(str(out / "conf"))
    if imported.plans:
        plan = imported.plans[0]
        lines.append(f"next: fran train --config-dir {folder} plan={plan} --cfg job")
        lines.append(f"      fran preprocess --config-dir {folder} project=<title> plan={plan}  (of fran init)")
    if f"conf/preset/{imported.name}.yaml" in imported.files:
        lines.append(f"all it trained with: fran train --config-dir {folder} preset={imported.name} --cfg job")
    return "\n".join(lines) + "\n"


def _problems(imported: Imported, report: Path) -> int:
    """Print what has to be mended; the exit status for it."""
    if not imported.problems:
        return 0
    errors = [problem for problem in imported.problems if problem.severity == "error"]
    count = f"{len(errors)} errors, {len(imported.problems) - len(errors)} warnings"
    sys.stderr.write(f"{count}\n{problems_table(imported.problems)}\n")
    return 1 if errors else 0
