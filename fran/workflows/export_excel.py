"""`fran export-excel`: a folder of configuration files as a workbook, which `fran import-excel` reads back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fran.errors import ConfigError, FranError
from fran.excel.export import export_folder


def main() -> None:
    """Export the folder named on the command line. Exit statuses as of `fran import-excel`."""
    parser = argparse.ArgumentParser(
        prog="fran export-excel",
        description="Write plans as a table with a plan a row, settings and search spaces on a sheet beside it.",
        epilog="example: fran export-excel my_conf --out experiment_configs.xlsx",
    )
    parser.add_argument("conf", type=Path, help="folder with plan/*.yaml, or with conf/ in it")
    parser.add_argument("--out", type=Path, required=True, help="the workbook, an .xlsx; it is replaced")
    arguments = parser.parse_args()
    try:
        _run(arguments.conf, arguments.out)
    except FranError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: expected to write there, found: {error.strerror}\n")
        sys.exit(1)


def _run(conf: Path, out: Path) -> None:
    if out.suffix != ".xlsx":
        raise ConfigError(f"--out {out}: expected a name that ends with .xlsx")
    table = export_folder(conf, out)
    sys.stdout.write(f"{out}: {len(table.plans)} plans, {len(table.settings)} settings\n")
    sys.stdout.writelines(f"left out {what}\n" for what in table.left_out)
