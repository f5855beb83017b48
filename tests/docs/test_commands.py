"""Every command in README.md, docs/ and the help of `fran` does what a reader expects: it works.

A command is run as it stands on small data (`QUICK`); or composed here, and run with little to do by
test_long_commands.py (`LONG`); or composed alone: a training with the keys of one that is run (`ALIKE`), or for a
reason that is stated (`COMPOSED`, `NOT_RUN`). Commands of other programs have a reason each (`OTHERS`). A new command
that none of these know fails, and so does one that two of them know.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fran.cli import VERBS

from .commands import HELP, LEFT_OPEN, REPOSITORY, Command, every_command
from .world import World, jobs_of_sweep, run

QUICK = (
    *("init", "add-data", "check", "fix rename-duplicates", "fix harmonise", "fix relabel", "fix names"),
    *("plan list", "plan show", "plan diff", "plan explain", "labels show", "labels tsl"),
    *(
        "project ls",
        "project status",
        "project properties",
        "project folds",
        "project sheet",
        "project drop",
        "project groups",
    ),
    *("cache ls", "cache verify", "cache gc", "score", "postprocess", "completion", "doctor"),
    *("import-excel", "export-excel", "import-nnunet", "export-nnunet"),
)
LONG = (
    *("preprocess", "train", "model ls", "model show", "cv", "cv show", "crops", "infer", "postprocess search"),
    *("export", "mlflow merge", "sweep show", "report"),
)
COMPOSED = {
    "ui": "serves until it is stopped; tests/tracking/test_ui.py starts it",
    "hpc ls": "needs a cluster; tests/remote/test_commands.py asks an OpenSSH server",
    "hpc pull": "needs a cluster; tests/remote/test_commands.py asks an OpenSSH server",
    "demo": ".ci/run runs it in an empty environment",
}
# commands of LONG and QUICK that are composed, never run; a part of their text and the reason
NOT_RUN = {
    "backend=ray": "needs a cluster; tests/parallel/test_same_everywhere.py runs a local one",
    "hydra/sweeper=ray_tune": "needs a Ray cluster of its own; tests/workflows/test_sweep_search.py starts one",
    "hydra/launcher=submitit_slurm": "needs Slurm",
    "sweep=lr": "a search that was run before it",
    "hydra/launcher=ray": "needs a Ray cluster of its own; tests/workflows/test_sweep_grid.py starts one",
    "project=organs 'datasources=[kits,lits]'": "projects made here have groups; test_conflicting_labels.py",
    "against=": "needs two predictions of one folder; tests/workflows/test_score.py compares such",
    "-t strokes": "needs a BIDS data set; tests/workflows/test_other_layouts.py makes one",
    "project=liver": "needs a data set of nnU-Net; tests/workflows/test_other_layouts.py makes one",
    "find_batch_size=true": "tries up to all memory of this machine; tests/workflows/test_whole_way.py finds one",
    "trainer.devices=": "needs several GPUs; tests/training/test_ranks.py runs two processes",
    "hpc:": "needs a cluster; tests/remote/test_commands.py asks an OpenSSH server",
    "runs=[run1,run2]": "stands for any two runs",
    "f0-3]": "a run of the sweep above it, without an input",
    "tracking.uri=http": "needs a server; tests/tracking/test_server.py starts one",
    "input=/data/patient7": "needs DICOM; tests of fran/io/dicom.py write series",
    "input=/data/study": "needs DICOM; tests of fran/io/dicom.py write series",
    "my_conf/conf project=nodes plan=plan2": "needs datasources of another program's project; tests/excel composes it",
    "init_from=plan1-dynunet-f0-1 trainer.max_epochs=100": "a hundred epochs; the line below it is run",
}
OTHERS = {
    r"git clone ": "the reader's own clone",
    r"cd ": "a change of folder",
    r"source \.venv/bin/activate$": "made by make",
    r"make \w+$": "a target of the Makefile",
    r"\.venv/bin/pre-commit install$": "a tool of the extra dev",
    r"cat my_conf/conf/plan/plan2\.yaml$": "shows what the import wrote",
    r"export HPC_SETTINGS=": "a setting of the shell",
    r"mlflow server ": "runs until it is stopped; tests/tracking/test_server.py starts one on PostgreSQL",
    r"pip install ['\"]fran\[": "an extra of pyproject.toml, as is tested below",
    r"ray (start|stop|status|get-auth-token)\b": "a cluster of several machines",
    r"awk -F, .* \| sort -t, .* \| head$": "reads cases.csv, whose columns tests/training/test_case_tables.py checks",
}
# what stands for a reader's own words
STANDS_FOR = (
    ("fran train -m … ", "fran train -m project=kits model=dynunet,segresnet "),
    ("fran infer … ", "fran infer project=kits runs=[plan1-dynunet-f0-1] output=out "),
    ("fran infer ...", "fran infer project=kits runs=[plan1-dynunet-f0-1]"),
    ("f0-1\"]' …", "f0-1\"]' input=/data/new output=out"),
    ("input=…", "input=/data/new"),
    ("output=…", "output=out"),
    ("input=<folder>", "input=/data/new"),
    ("output=<folder>", "output=out"),
    ("http://<machine>:5000 folder=<folder with mlflow.db>", "http://host:5000 folder=/data"),
    ("-t <title> -i <folder>", "-t kits -i /data/kits"),
    ("<workbook> --out <folder>", "nodes.xlsx --out my_conf"),
    ("fran cv show --json", "fran cv show project=kits --json"),
    ("fran check --json", "fran check /data/kits --json"),
    ("fran check <folder>", "fran check /data/kits"),
    ("fran cv ... ", "fran cv project=kits "),
    ("fran train ... ", "fran train project=kits "),
    ("fran train … ", "fran train project=kits "),
    ("python train.py -m …", "python train.py -m model=dynunet,segresnet"),
    ("fran train resume=…", "fran train project=kits resume=plan1-dynunet-f0-1"),
    ("fran train resume=<run>", "fran train project=kits resume=plan1-dynunet-f0-1"),
    ("fran train plan=<name>", "fran train plan=plan2"),
    ("search=<file>", "search=lr"),
    ("postprocess=<rules.json>", "postprocess=my_rules.json"),
    ("pred=…", "pred=/data/predictions"),
    ("gt=…", "gt=/data/references"),
    ("fran score ... datasource=<name>", "fran score pred=/data/predictions gt=/data/references datasource=kits"),
    ("project=<title>", "project=kits"),
    ("project=... plan=...", "project=kits plan=plan1"),
    ("project=...", "project=kits"),
    ("NAME", "plan1-dynunet-f0-1"),
)
# what nobody could type, whatever is put in
GRAMMAR = ("fran <verb> [key=value ...]",)
# settings of a training that change nothing when they are typed
USUAL = ("plan=plan1", "model=dynunet", "fold=0")
DEFAULT = {"kits": ["kits"], "demo": ["demo"], "abdomen": ["kits", "lits"], "cysts": ["kits"]}
PROJECTS = {
    "labels.md": {"organs": ["kits", "lits", "ts"]},
    "projects.md": {"organs": ["kits", "stsct", "late"]},
    "plans.md": {"nodes": ["nodesthick", "nodes"], "demo": ["demo"]},
    "from_excel.md": {"nodes": ["nodesthick", "nodes"], "demo": ["demo"]},
    "fran add-data project=kits /data/lits": {"kits": ["kits", "lits"]},
    "fran add-data project=kits raw/lits": {"kits": ["kits", "lits"]},
    "fran project drop project=kits name=old_scans": {"kits": ["kits", "old_scans"]},
    "fran project groups project=kits 'lm_groups=[[kits],[lits]]'": {"kits": ["kits", "lits"]},
}
# verbs that look at folders alone, or make the project themselves
WITHOUT_PROJECT = (
    "doctor",
    "init",
    "check",
    "fix rename-duplicates",
    "fix harmonise",
    "fix relabel",
    "fix names",
    "score",
)

EVERY = every_command()
FRANS = [c for c in EVERY if c.is_frans]


def filled(command: Command) -> Command:
    text = command.text.removeprefix("srun ").removesuffix(" $how")
    for words, mean in STANDS_FOR:
        text = text.replace(words, mean)
    if text.startswith("fran infer ") and LEFT_OPEN.search(command.text) and "input=" not in text:
        text += " input=/data/new"
    return Command(command.page, command.line, text, command.fails)


def mentioned(command: Command) -> bool:
    """Whether a verb is only named."""
    named = command.verb == " ".join(command.arguments[1:]) and command.page != HELP
    return named or command.text in GRAMMAR


TYPED = [c for c in map(filled, FRANS) if not mentioned(c) and c.verb != "help"]


def reason(command: Command) -> str | None:
    """Why a command is composed and never run."""
    return next((why for part, why in NOT_RUN.items() if part in command.text), COMPOSED.get(command.verb))


def asks_only(command: Command) -> bool:
    return any(flag in command.arguments for flag in ("--help", "--cfg", "--dry-run"))


def kind(command: Command) -> tuple[str, ...]:
    """Flags and keys of a training, but for its project and for what is so anyway."""
    typed = [a for a in command.arguments[2:] if a not in USUAL]
    return tuple(sorted({a.partition("=")[0] for a in typed} - {"project"}))


WITHOUT_REASON = [c for c in TYPED if not reason(c)]
QUICK_RUN = [c for c in WITHOUT_REASON if c.verb in QUICK or (asks_only(c) and "--dry-run" not in c.arguments)]
LONG_ALL = [c for c in WITHOUT_REASON if c.verb in LONG and (not asks_only(c) or "--dry-run" in c.arguments)]
FIRST = {kind(c): c for c in reversed(LONG_ALL) if c.verb == "train"}
ALIKE = {c: FIRST[kind(c)] for c in LONG_ALL if c.verb == "train" and FIRST[kind(c)] != c}
LONG_RUN = [c for c in LONG_ALL if c not in ALIKE]


def composed() -> list[Command]:
    return [c for c in TYPED if c.verb in (*LONG, *COMPOSED) and not asks_only(c)]


def world(root: Path, command: Command) -> World:
    named = next((a.partition("=")[2] for a in command.arguments if a.startswith("project=")), "demo")
    known = {**DEFAULT, **(PROJECTS.get(command.text) or PROJECTS.get(command.page, {}))}
    projects = {} if command.verb in WITHOUT_PROJECT else {named: known[named]}
    return World(root, projects, cysts=command.page == "labels.md")


def test_there_are_commands_in_every_page_that_shows_some() -> None:
    assert len(TYPED) > 120
    pages = {c.page for c in TYPED}
    assert {"README.md", "getting_started.md", "training.md", "inference.md", "plans.md", HELP} <= pages


def test_every_command_is_tried_in_one_way_and_no_more() -> None:
    """A new one: its verb is in QUICK or LONG, or what keeps it from being run is in COMPOSED or NOT_RUN."""
    ways = {str(c): [c in QUICK_RUN, c in LONG_RUN, c in ALIKE, reason(c) is not None] for c in TYPED}
    assert {command: known for command, known in ways.items() if sum(known) != 1} == {}
    only_composed = {c for c in TYPED if c in ALIKE or (reason(c) and c.verb in LONG and not asks_only(c))}
    assert only_composed <= set(composed())
    assert len(QUICK_RUN) > 80 and len(LONG_RUN) > 60 and len(ALIKE) < 20


def test_what_a_page_leaves_open_is_filled_in() -> None:
    """A new form with … or <name>: say in STANDS_FOR what a reader would type there."""
    assert [str(c) for c in map(filled, FRANS) if LEFT_OPEN.search(c.text) and c.text not in GRAMMAR] == []


def test_every_verb_is_known_here() -> None:
    """A new verb: say in QUICK, LONG or COMPOSED how it is tried."""
    known = {*QUICK, *LONG, *COMPOSED, "help"}
    named = [c for c in FRANS if not c.arguments[1].startswith(("--", "<"))]
    assert [str(c) for c in named if c.verb not in {*known, *VERBS}] == []
    assert [str(c) for c in TYPED if c.verb not in known and not c.arguments[1].startswith("--")] == []


def test_commands_of_other_programs_are_listed() -> None:
    """A new one: give a reason in OTHERS."""
    others = [c for c in EVERY if not c.is_frans and not c.text.startswith("srun fran ")]
    unknown = [str(c) for c in others if not any(re.match(p, c.text) for p in OTHERS) and not page_script(c)]
    assert unknown == []


def test_targets_of_make_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    named = {c.text.split()[1] for c in EVERY if c.text.startswith("make ")}
    assert named and {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()


def page_script(command: Command) -> bool:
    """Lines around fran's in a script for a queue."""
    return command.page == "training.md" and bool(re.match(r"#SBATCH|how=|if \[ ", command.text))


def test_reasons_name_something() -> None:
    for part in NOT_RUN:
        assert any(part in c.text for c in TYPED), f"nothing has {part!r} any more"
    for pattern in OTHERS:
        assert any(re.match(pattern, c.text) for c in EVERY), f"nothing is {pattern!r} any more"


def test_extras_that_pages_install_exist() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"fran\[(\w+)\]", page.read_text())}
    assert named and named <= extras.keys()


@pytest.mark.slow
@pytest.mark.parametrize("command", QUICK_RUN, ids=str)
def test_quick_commands_run(command: Command, tmp_path: Path) -> None:
    place = world(tmp_path, command)
    with place.at():
        place.make_projects()
        if command.verb.startswith("fix "):
            place.spoil(command.arguments[2])
        status, said = run(place.words(command.arguments))
    assert (status != 0) == command.fails, said


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """A world for each page whose commands are composed, made when it is first needed."""
    found: dict[str, World] = {}

    class Places(dict[str, World]):
        def __missing__(self, page: str) -> World:
            place = World(tmp_path_factory.mktemp("page"), {**DEFAULT, **PROJECTS.get(page, {})})
            with place.at():
                place.make_projects()
            return self.setdefault(page, place)

    yield Places(found)


@pytest.mark.slow
@pytest.mark.parametrize("command", composed(), ids=str)
def test_long_commands_compose(command: Command, places: dict[str, World]) -> None:
    place = places[command.page if command.page in PROJECTS else "other"]
    with place.at():
        for words in jobs_of_sweep(place.words(command.arguments)):
            status, said = run([*words, "--cfg", "job"])
            assert status == 0, said
