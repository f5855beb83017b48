"""The `fran` command: one verb a step, each handed on to its own module so that `fran --help` stays instant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from fran import __version__
from fran.errors import FranError, choices, is_ctrl_c
from fran.workflows.verbs import Group, Verb, Verbs

VERBS: dict[str, Verb | Group] = {
    "init": Verb("init", "check folders of raw data and make, or add to, a project", "fran init -t kits -i raw/kits"),
    "add-data": Verb(
        "add_data",
        "more folders of raw data for a project that exists; folds that were dealt stay",
        "fran add-data project=kits raw/lits",
        conf="init",
        words=("folder…",),
    ),
    "check": Verb(
        "check",
        "what is wrong with folders of raw data, and what to do",
        "fran check raw/kits raw/lits",
        words=("folder…",),
    ),
    "fix": Group(
        "repair a folder of raw data; a new folder is written, the old one stays as it is",
        {
            "rename-duplicates": Verb(
                "fix", "give cases of one id ids of their own", "fran fix rename-duplicates raw/kits", words=("folder",)
            ),
            "harmonise": Verb(
                "fix", "label maps on the exact grid of their image", "fran fix harmonise raw/kits", words=("folder",)
            ),
            "relabel": Verb(
                "fix", "other label values", "fran fix relabel raw/kits 'remapping={3: 1, 4: 0}'", words=("folder",)
            ),
            "names": Verb("fix", "file names that keep the rule", "fran fix names raw/kits", words=("folder",)),
        },
    ),
    "preprocess": Verb("preprocess", "bring the cases to a plan's spacing", "fran preprocess project=kits plan=plan1"),
    "train": Verb("train", "train a network", "fran train project=kits plan=plan1 model=dynunet fold=0"),
    "model": Group(
        "the networks: what they are, and what they cost for a plan's patch",
        {
            "ls": Verb(
                "model_ls",
                "every network, with parameters, operations and memory",
                "fran model ls plan=plan1",
                conf="models",
            ),
            "show": Verb(
                "model_show",
                "one network's settings, outputs and memory",
                "fran model show resunet plan=plan1",
                conf="models",
                words=("model",),
            ),
        },
    ),
    "cv": Group(
        "cross-validation: train the folds that are missing, and show all of them as one result",
        {
            "show": Verb(
                "cv_show",
                "Dice of each label over the cases of all folds, with intervals",
                "fran cv show project=kits",
            ),
        },
        Verb("cv", "train the folds that are missing, then show them", "fran cv project=kits plan=plan1 model=dynunet"),
    ),
    "sweep": Group(
        "many trainings of one command, `fran train -m`: which did best, and what made the difference",
        {
            "show": Verb(
                "sweep_show",
                "trials, the best first, with intervals; importance of settings; commands for the best",
                "fran sweep show project=kits sweep=sweep-1",
            ),
        },
    ),
    "crops": Verb(
        "crops", "draw the augmented crops that a training would see", "fran crops project=kits plan=plan1 count=12"
    ),
    "plan": Group(
        "what plans say, how they differ, what their data will be and cost",
        {
            "list": Verb(
                "plan_list",
                "every plan, and what a project has of its data",
                "fran plan list project=kits",
                conf="plans",
            ),
            "show": Verb(
                "plan_show",
                "a plan's values, and where each is stated",
                "fran plan show plan2",
                conf="plans",
                words=("plan",),
            ),
            "diff": Verb(
                "plan_diff",
                "two plans: other values, and the stages that would be made anew",
                "fran plan diff plan1 plan2 project=kits",
                conf="plans",
                words=("plan", "against"),
            ),
            "explain": Verb(
                "plan_explain",
                "the chain of a plan's stages: folders, cases, disk and time",
                "fran plan explain plan2 project=kits",
                conf="plans",
                words=("plan",),
            ),
        },
    ),
    "labels": Group(
        "what becomes of label values, and the table of named structures",
        {
            "show": Verb(
                "labels_show",
                "the way of every label of a plan, from raw files to channels",
                "fran labels show project=kits plan=plan1",
            ),
            "tsl": Verb("labels_tsl", "the label table that plans call TSL", "fran labels tsl find=kidney"),
        },
    ),
    "project": Group(
        "projects: which there are; where one stands, its statistics, folds, datasources and groups",
        {
            "ls": Verb(
                "project_ls", "every project: its cases, its runs and the last of them, its folder", "fran project ls"
            ),
            "status": Verb(
                "project_status",
                "cases, folds, labels, groups, preprocessed data, plans and runs",
                "fran project status project=kits",
            ),
            "properties": Verb(
                "project_properties",
                "what the training cases have in common; spacing and patch to begin with, and why",
                "fran project properties project=kits",
            ),
            "folds": Verb(
                "project_folds", "deal the folds that are missing, and show them", "fran project folds project=kits"
            ),
            "sheet": Verb(
                "project_sheet",
                "a picture of every case with its labels, and voxels and mm³ of each label",
                "fran project sheet project=kits",
            ),
            "drop": Verb("project_drop", "take a datasource out", "fran project drop project=kits name=old_scans"),
            "groups": Verb(
                "project_groups",
                "which datasources share the meaning of their label values",
                "fran project groups project=kits 'lm_groups=[[kits],[lits]]'",
            ),
        },
    ),
    "cache": Group(
        "preprocessed data: what is there, whether it is whole, what no plan needs",
        {
            "ls": Verb("cache_ls", "folders, cases, bytes, and which plans need them", "fran cache ls project=kits"),
            "verify": Verb("cache_verify", "read every file back, name the damaged", "fran cache verify project=kits"),
            "gc": Verb("cache_gc", "show what no plan needs; delete=true deletes it", "fran cache gc project=kits"),
        },
    ),
    "hpc": Group(
        "trained models on a cluster that hpc.yaml describes",
        {
            "ls": Verb("hpc_ls", "runs of a project there, and which have a copy here", "fran hpc ls project=kits"),
            "pull": Verb("hpc_pull", "fetch runs without predicting", "fran hpc pull project=kits 'runs=[NAME]'"),
        },
    ),
    "infer": Verb("infer", "predict label maps for new images", "fran infer project=kits 'runs=[NAME]' input=new/"),
    "postprocess": Group(
        "rules for each label of a prediction: small components removed, the largest kept, holes filled",
        {
            "search": Verb(
                "postprocess_search",
                "the rules that help the held-out cases of a cross-validation",
                "fran postprocess search project=kits",
            ),
        },
        Verb(
            "postprocess",
            "apply the rules to label maps that are there already",
            "fran postprocess project=kits input=predictions output=cleaned",
        ),
    ),
    "export": Verb("export", "a run as a bundle to hand on", "fran export project=kits run=NAME output=kits_model.zip"),
    "score": Verb("score", "compare predictions with references", "fran score pred=predictions gt=raw/kits"),
    "report": Verb(
        "report",
        "a page about a project, a run or a comparison of runs: one HTML file",
        "fran report project=kits run=plan1-dynunet-f0-1",
    ),
    "import-nnunet": Verb(
        "import_nnunet",
        "a data set of nnU-Net as a project, with its folds; read in place",
        "fran import-nnunet nnUNet_raw/Dataset004_Liver",
        words=("folder",),
    ),
    "export-nnunet": Verb(
        "export_nnunet",
        "a project as a data set of nnU-Net, with the same folds",
        "fran export-nnunet project=kits output=nnUNet_raw/Dataset501_Kidneys",
    ),
    "import-excel": Verb(
        "import_excel",
        "plans and settings from a workbook of the old fran",
        "fran import-excel book.xlsx --out my_conf",
        conf="-",
    ),
    "export-excel": Verb(
        "export_excel",
        "a folder of plans and settings as a workbook",
        "fran export-excel my_conf --out book.xlsx",
        conf="-",
    ),
    "mlflow": Group(
        "MLflow's stores",
        {
            "merge": Verb(
                "mlflow_merge",
                "bring runs that were tracked offline into the project's store",
                "fran mlflow merge project=kits",
            ),
        },
    ),
    "ui": Verb("ui", "open MLflow on a project's runs", "fran ui project=kits"),
    "demo": Verb("demo", "the whole way on phantoms that fran makes itself", "fran demo"),
    "doctor": Verb("doctor", "what is wrong with this machine for fran, and what to do", "fran doctor"),
    "completion": Verb("completion", "what Tab offers, in bash, zsh and fish", "fran completion bash", conf="-"),
}


SECTIONS = {
    "to begin with": ("demo", "doctor", "completion", "help"),
    "raw data and projects": (
        "check",
        "fix",
        "init",
        "import-nnunet",
        "add-data",
        "project",
        "labels",
        "export-nnunet",
    ),
    "plans and their data": ("plan", "preprocess", "cache"),
    "training": ("model", "crops", "train", "cv", "sweep"),
    "results": ("infer", "postprocess", "score", "report", "ui", "export"),
    "other machines": ("hpc", "mlflow"),
}
"""Verbs in the order of a user's day; those of no section come last."""


def usage() -> str:
    """What `fran --help` prints."""
    named = {verb for names in SECTIONS.values() for verb in names}
    sections = {**SECTIONS, "other programs": tuple(verb for verb in VERBS if verb not in named)}
    blocks = [f"{title}:\n{_listed({n: VERBS[n] for n in names if n in VERBS})}" for title, names in sections.items()]
    verbs = "\n\n".join(blocks)
    return f"""fran {__version__}: CT and MR volumes in, segmentation experiments that can be repeated out

usage: fran <verb> [key=value ...]     for instance:
  fran init -t kits -i raw/kits
  fran train project=kits plan=plan1 model=dynunet fold=0
  fran infer project=kits 'runs=[plan1-dynunet-f0-1]' input=new/

{verbs}

`fran help <verb>`, or `fran <verb> --help`, shows an example and the settings,
`fran help <verb> <key>` what one means. Any setting is a key=value. Quote lists
for your shell: 'spacing=[0.8,0.8,1.5]'. `fran train -m fold=0,1` runs once for
each value. Data live below $FRAN_HOME (default ~/fran); your own plans go to
conf/plan/ there, or to a folder in $FRAN_CONF.
"""


def group_usage(name: str, group: Group) -> str:
    """What `fran <group> --help` prints."""
    from fran.workflows.verb_help import listed

    rows = [(f"fran {name} {word}".rstrip(), verb.help) for word, verb in group.choices.items()]
    examples = "\n".join(f"  {verb.example}" for verb in group.choices.values())
    more = f"fran {name} <verb> --help lists the settings of one."
    return f"fran {name}: {group.help}\n\n{listed(rows)}\n\nexamples:\n{examples}\n\n{more}\n"


def _listed(verbs: Verbs) -> str:
    """One row a verb, and below it the verbs of a group."""
    from fran.workflows.verb_help import listed

    rows = []
    for name, verb in verbs.items():
        inner = f" ({', '.join(verb.verbs)})" if isinstance(verb, Group) and verb.verbs else ""
        rows.append((name, verb.help + inner))
    return listed(rows, 16)


def main() -> None:
    """Run the verb named on the command line."""
    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        from fran.workflows.terminal import reader_gone

        if not reader_gone():
            raise
    except BaseException as error:
        if isinstance(error, SystemExit) or not is_ctrl_c(error):
            raise
        sys.stderr.write("interrupted\n")  # once it has begun, a verb says more by itself
        sys.exit(130)


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] in (["-V"], ["--version"]):
        sys.stdout.write(f"fran {__version__}\n")
        return
    asked = arguments[:1] == ["help"]
    name, verb, rest = find(arguments[1:] if asked else arguments)
    asked = asked or bool({"-h", "--help"}.intersection(rest))
    if verb is None:
        sys.stdout.write(usage())
    elif isinstance(verb, Group):
        sys.stdout.write(group_usage(name, verb))
    elif name == "completion":  # the one verb that has to know all others
        from fran.workflows.completion import main as completion

        completion(VERBS, ["--help"] if asked else rest)
    elif asked and verb.primary:
        sys.stdout.write(_help(name, verb, [word for word in rest if not word.startswith("-")]))
    else:
        sys.argv = [f"fran {name}", *(["--help"] if asked else rest)]
        from fran.workflows.first_word import say_first
        from fran.workflows.legacy import hint

        if verb.primary and (old := hint(name, rest)):
            _refuse(old)
        say_first(name, sys.argv[1:])
        import_module(f"fran.workflows.{verb.module}").main()


def find(arguments: Sequence[str]) -> tuple[str, Verb | Group | None, Sequence[str]]:
    """The verb that a command line begins with: its name, itself, and the arguments that are left for it.

    A group stands for itself where its verb is not named, and None where nothing is.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return "", None, arguments
    name, rest = arguments[0], arguments[1:]
    verb = _chosen("fran", VERBS, name, rest)
    if isinstance(verb, Group):
        if verb.default is not None and (_is_setting(rest[:1]) or not verb.verbs):
            return name, verb.default, rest
        if not rest or rest[0] in ("-h", "--help"):
            return name, verb, rest
        return f"{name} {rest[0]}", _chosen(f"fran {name}", verb.verbs, rest[0]), rest[1:]
    return name, verb, rest


def _is_setting(arguments: Sequence[str]) -> bool:
    """Whether the next argument is for the verb that a group is by itself: ``project=kits``, ``--dry-run``, ``-m``."""
    return any("=" in a or (a.startswith("-") and a not in ("-h", "--help")) for a in arguments[:1])


def _help(name: str, verb: Verb, keys: Sequence[str]) -> str:
    """Help about a verb, or about some of its settings."""
    from fran.workflows.verb_help import key_help, verb_help

    try:
        return "\n".join(key_help(name, verb, key) for key in keys if "=" not in key) or verb_help(name, verb)
    except FranError as error:
        _refuse(str(error))


def _chosen(name: str, verbs: Verbs, word: str, rest: Sequence[str] = ()) -> Verb | Group:
    if word not in verbs:
        from fran.workflows.legacy import old_program

        now = old_program(word, rest) if verbs is VERBS else ""
        _refuse(f"{name}: unknown verb '{word}'; " + (f"today: {now}" if now else choices(word, list(verbs))))
    return verbs[word]


def _refuse(message: str) -> NoReturn:
    """Say what cannot work about a command line, and end with the status for it."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
