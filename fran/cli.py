"""The `fran` command: one verb a step, each handed on to its own module so that `fran --help` stays instant."""

from __future__ import annotations

import sys
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


VERBS = {
    "init": Verb("init", "check folders of raw data and make, or add to, a project", "fran init -t kits -i raw/kits"),
    "preprocess": Verb("preprocess", "bring the cases to a plan's spacing", "fran preprocess project=kits plan=plan1"),
    "train": Verb("train", "train a network", "fran train project=kits plan=plan1 model=dynunet fold=0"),
    "infer": Verb("infer", "predict label maps for new images", "fran infer project=kits 'runs=[NAME]' input=new/"),
    "score": Verb("score", "compare predictions with references", "fran score pred=predictions gt=raw/kits"),
    "ui": Verb("ui", "open MLflow on a project's runs", "fran ui project=kits"),
    "demo": Verb("demo", "the whole way on phantoms that fran makes itself", "fran demo"),
}


def usage() -> str:
    """What `fran --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(
        f"  {name:<{width}}  {verb.help}\n  {'':<{width}}    {verb.example}" for name, verb in VERBS.items()
    )
    return f"""fran {__version__}: CT and MR volumes in, segmentation experiments that can be repeated out

usage: fran <verb> [key=value ...]

{verbs}

Any setting is a key=value; `fran <verb> --help` lists them, `fran <verb> --cfg job` prints them as composed, and
`fran train -m key=a,b` runs one training for each value. Quote lists for your shell: 'spacing=[0.8,0.8,1.5]'.
Data live below $FRAN_HOME (default ~/fran); your own plans go to conf/plan/ there, or to a folder in $FRAN_CONF.
"""


def main() -> None:
    """Run the verb named on the command line."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"fran {__version__}\n")
        return
    verb = VERBS.get(arguments[0])
    if verb is None:
        sys.stderr.write(f"error: unknown verb '{arguments[0]}'; {choices(arguments[0], list(VERBS))}\n")
        sys.exit(2)
    sys.argv = [f"fran {arguments[0]}", *arguments[1:]]
    import_module(f"fran.workflows.{verb.module}").main()


if __name__ == "__main__":
    main()
