"""The `fran` command: one verb a step, each handed on to its own module so that `fran --help` stays instant."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from fran import __version__
from fran.errors import choices


@dataclass(frozen=True)
class Verb:
    """A verb of the command line: the module with its `main`, one line of help, and an example."""

    module: str
    help: str
    example: str


@dataclass(frozen=True)
class Group:
    """Verbs about one subject: `fran <group> <verb>`; with a default also `fran <group> [key=value ...]`."""

    help: str
    verbs: dict[str, Verb]
    default: Verb | None = None


VERBS: dict[str, Verb | Group] = {
    "init": Verb("init", "check folders of raw data and make, or add to, a project", "fran init -t kits -i raw/kits"),
    "check": Verb("check", "what is wrong with folders of raw data, and what to do", "fran check raw/kits raw/lits"),
    "fix": Group(
        "repair a folder of raw data; a new folder is written, the old one stays as it is",
        {
            "rename-duplicates": Verb(
                "fix", "give cases of one id ids of their own", "fran fix rename-duplicates raw/kits"
            ),
            "harmonise": Verb("fix", "label maps on the exact grid of their image", "fran fix harmonise raw/kits"),
            "relabel": Verb("fix", "other label values", "fran fix relabel raw/kits 'remapping={3: 1, 4: 0}'"),
            "names": Verb("fix", "file names that keep the rule", "fran fix names raw/kits"),
        },
    ),
    "preprocess": Verb("preprocess", "bring the cases to a plan's spacing", "fran preprocess project=kits plan=plan1"),
    "train": Verb("train", "train a network", "fran train project=kits plan=plan1 model=dynunet fold=0"),
    "model": Group(
        "the networks: what they are, and what they cost for a plan's patch",
        {
            "ls": Verb("model_ls", "every network, with parameters, operations and memory", "fran model ls plan=plan1"),
            "show": Verb(
                "model_show", "one network's settings, outputs and memory", "fran model show resunet plan=plan1"
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
    "crops": Verb(
        "crops", "draw the augmented crops that a training would see", "fran crops project=kits plan=plan1 count=12"
    ),
    "plan": Group(
        "what plans say, how they differ, what their data will be and cost",
        {
            "list": Verb("plan_list", "every plan, and what a project has of its data", "fran plan list project=kits"),
            "show": Verb("plan_show", "a plan's values, and where each is stated", "fran plan show plan2"),
            "diff": Verb(
                "plan_diff",
                "two plans: other values, and the stages that would be made anew",
                "fran plan diff plan1 plan2 project=kits",
            ),
            "explain": Verb(
                "plan_explain",
                "the chain of a plan's stages: folders, cases, disk and time",
                "fran plan explain plan2 project=kits",
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
        "one project: where it stands, its statistics, folds, datasources and label groups",
        {
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
        {},
        Verb(
            "postprocess",
            "apply the rules to label maps that are there already",
            "fran postprocess project=kits input=predictions output=cleaned",
        ),
    ),
    "export": Verb("export", "a run as a bundle to hand on", "fran export project=kits run=NAME output=kits_model.zip"),
    "score": Verb("score", "compare predictions with references", "fran score pred=predictions gt=raw/kits"),
    "import-nnunet": Verb(
        "import_nnunet",
        "a data set of nnU-Net as a project, with its folds; read in place",
        "fran import-nnunet nnUNet_raw/Dataset004_Liver",
    ),
    "import-excel": Verb(
        "import_excel",
        "plans and settings from a workbook of the old fran",
        "fran import-excel book.xlsx --out my_conf",
    ),
    "export-excel": Verb(
        "export_excel", "a folder of plans and settings as a workbook", "fran export-excel my_conf --out book.xlsx"
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
}


def usage() -> str:
    """What `fran --help` prints."""
    return f"""fran {__version__}: CT and MR volumes in, segmentation experiments that can be repeated out

usage: fran <verb> [key=value ...]

{_listed(VERBS)}

Any setting is a key=value; `fran <verb> --help` lists them, `fran <verb> --cfg job` prints them as composed, and
`fran train -m key=a,b` runs one training for each value. Quote lists for your shell: 'spacing=[0.8,0.8,1.5]'.
Data live below $FRAN_HOME (default ~/fran); your own plans go to conf/plan/ there, or to a folder in $FRAN_CONF.
"""


def group_usage(name: str, group: Group) -> str:
    """What `fran <group> --help` prints."""
    itself = f"       fran {name} [key=value ...]\n" if group.default else ""
    verbs = {"": group.default, **group.verbs} if group.default else group.verbs
    return f"fran {name}: {group.help}\n\nusage: fran {name} <verb> [key=value ...]\n{itself}\n{_listed(verbs)}\n"


def _listed(verbs: Mapping[str, Verb | Group]) -> str:
    width = max(map(len, verbs))
    lines = []
    for name, verb in verbs.items():
        lines.append(f"  {name:<{width}}  {verb.help}")
        if isinstance(verb, Verb):
            example = verb.example
        else:
            own = [verb.default.example] if verb.default else []
            example = " | ".join([*own, *(f"fran {name} {inner}" for inner in verb.verbs)])
        lines.append(f"  {'':<{width}}    {example}")
    return "\n".join(lines)


def main() -> None:
    """Run the verb named on the command line."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-V"], ["--version"]):
        sys.stdout.write(f"fran {__version__}\n")
        return
    verb, words = _chosen("fran", VERBS, arguments, usage()), 1
    if isinstance(verb, Group):
        group, verb = verb, verb.default
        if verb is None or not _is_setting(arguments[1:2]):
            name = arguments[0]
            verb, words = _chosen(f"fran {name}", group.verbs, arguments[1:], group_usage(name, group)), 2
    if isinstance(verb, Verb):
        sys.argv = [" ".join(["fran", *arguments[:words]]), *arguments[words:]]
        import_module(f"fran.workflows.{verb.module}").main()


def _is_setting(arguments: Sequence[str]) -> bool:
    """Whether the next argument is for the verb that a group is by itself: ``project=kits``, ``--dry-run``, ``-m``."""
    return any("=" in a or (a.startswith("-") and a not in ("-h", "--help")) for a in arguments[:1])


def _chosen(
    name: str, verbs: Mapping[str, Verb | Group], arguments: Sequence[str], help_text: str
) -> Verb | Group | None:
    """The verb that the arguments begin with; prints the help, and gives None, where that is asked for."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(help_text)
        return None
    if arguments[0] not in verbs:
        sys.stderr.write(f"error: {name}: unknown verb '{arguments[0]}'; {choices(arguments[0], list(verbs))}\n")
        sys.exit(2)
    return verbs[arguments[0]]


if __name__ == "__main__":
    main()
