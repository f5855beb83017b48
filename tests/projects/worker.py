"""What a second process does in the tests of processes: `python worker.py <root> <action> <raw folder>`."""

from __future__ import annotations

import sys
from pathlib import Path

from fran.datasources.datasource import Datasource
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project


def project_in(root: Path) -> Project:
    return Project("organs", ProjectFolders("organs", root / "projects", root / "cold", root / "rapid"))


def main(root: str, action: str, raw: str) -> None:
    project = project_in(Path(root))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if action == "add":
        report = project.add_data([Datasource(Path(raw))])
        project.maybe_store_projectwide_properties()
        sys.stdout.write(f"added {len(report.added)}\n")
    elif action == "read":
        seen = set()
        for _ in range(150):
            cases = project.cases()
            seen.add((len(cases), len({c.ds for c in cases})))
        sys.stdout.write(f"seen {sorted(seen)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
