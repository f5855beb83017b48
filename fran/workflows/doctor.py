"""`fran doctor`: what fran finds on this machine, what is wrong with it, and what to do."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from fran.errors import FranError
from fran.io.places import home
from fran.workflows import doctor_machine, doctor_places, doctor_stores
from fran.workflows.entry import Job, run_verb
from fran.workflows.findings import Finding, Findings
from fran.workflows.schema import DoctorConfig
from fran.workflows.terminal import answer_console, counting, say_json

STYLES = {"problem": "bold red", "note": "yellow", "ok": "green"}


def doctor(job: Job[DoctorConfig]) -> None:
    """Look at everything and say it, area by area.

    Raises:
        FranError: there are problems.
    """
    found = _found(areas(job.config))
    problems = sum(finding.severity == "problem" for findings in found.values() for finding in findings)
    if job.config.json:
        listed = [{"area": area, **asdict(finding)} for area, findings in found.items() for finding in findings]
        say_json({"problems": problems, "findings": listed})
    else:
        for area, findings in found.items():
            _show(area, findings)
    if problems:
        raise FranError(f"{problems} problem{'s' * (problems > 1)}; what to do stands behind -> above")


def areas(config: DoctorConfig) -> dict[str, Callable[[], Findings]]:
    """What is looked at, by title."""
    paths = config.paths
    kinds = {kind: Path(getattr(paths, kind)).expanduser() for kind in ("projects", "cold", "rapid", "checkpoints")}
    roots = {"home": home(), **kinds, "scratch": Path(tempfile.gettempdir())}
    searched = [root for root in (roots["home"], *kinds.values()) if root.is_dir()]
    apart = [root for root in searched if not any(root != o and root.is_relative_to(o) for o in searched)]
    stores = [path for path in kinds["projects"].glob("*/mlflow.db") if path.is_file()]
    uri = config.tracking.uri if config.tracking.backend != "none" else None
    return {
        "Versions": doctor_machine.versions,
        "Machine": doctor_machine.machine,
        "GPU and convolutions": doctor_machine.devices,
        "Folders": lambda: doctor_places.folders(roots),
        "Configuration": doctor_places.configuration,
        "MLflow": lambda: (
            f for look in (doctor_stores.sqlite_stores(stores), doctor_stores.server(uri)) for f in look
        ),
        "Left behind": lambda: (
            f
            for look in (
                doctor_places.leftovers(list(dict.fromkeys(apart))),
                doctor_places.trainings(kinds["checkpoints"]),
            )
            for f in look
        ),
    }


def _found(looks: Mapping[str, Callable[[], Findings]]) -> dict[str, list[Finding]]:
    """What each area has; the one that is looked at stands beside the progress, for some take seconds."""
    found: dict[str, list[Finding]] = {}
    with counting("doctor", "area") as at_work:
        for area, look in looks.items():
            at_work(len(found), len(looks), area)
            found[area] = _looked(look)
        at_work(len(found), len(looks))
    return found


def _looked(look: Callable[[], Findings]) -> list[Finding]:
    """What an area has; that it cannot be looked at is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except (OSError, FranError, RuntimeError, ImportError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        found.append(Finding("here", f"could not be looked at: {text}", "problem", "mend that first, then look again"))
    return found


def _show(area: str, findings: list[Finding]) -> None:
    from rich.text import Text

    console = answer_console()
    console.print(Text(area), soft_wrap=True)
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    for finding in findings:
        rows = textwrap.wrap(
            f"{finding.what}: {finding.found}", width - 11, break_long_words=False, break_on_hyphens=False
        )
        mark = Text(f"  {finding.severity:<9}", style=STYLES[finding.severity])
        console.print(mark.append(Text("\n           ".join(rows), style="default")), soft_wrap=True)
        if finding.next_step:
            # one line, so that a command can be copied
            console.print(Text(f"           -> {finding.next_step}"), soft_wrap=True)
    console.print()


def main() -> None:
    """Entry of `fran doctor`."""
    run_verb("doctor", DoctorConfig, doctor)
