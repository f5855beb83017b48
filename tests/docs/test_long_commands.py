"""The commands of README.md, docs/ and the help that take long: run with little to do, among runs of the pages' names.

Verbs that show or use results run as they are written. A training gets `LITTLE` appended, so that it takes seconds.
Blocks of Python run on the same runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .commands import python_blocks
from .test_commands import LONG_RUN, PROJECTS, Command, asks_only
from .world import World, run

SHAPE = ("patch_dim0=32", "patch_dim1=32", "model.filters=4", "preprocess.num_processes=1")
LITTLE = (
    *("trainer.max_epochs=1", "trainer.steps_per_epoch=1", "trainer.batch_size=1", "trainer.num_workers=0"),
    *("trainer.max_val_cases=1", "trainer.val_every_n_epochs=1", *SHAPE),
)
UNTRACKED, RAW = "tracking=none", "postprocess=false"
# last: what changes a run, or the predictions without post-processing, that others need
CHANGING = ("resume=", "output=/data/predictions")
COMMANDS = sorted({c.text: c for c in LONG_RUN}.values(), key=lambda c: any(part in c.text for part in CHANGING))


def little(command: Command) -> list[str]:
    """What is appended to a command, so that it takes seconds."""
    if command.verb not in ("train", "cv") or asks_only(command):
        return []
    if "resume=" in command.text:
        return ["trainer.max_epochs=2"]
    typed = {word.partition("=")[0] for word in command.arguments}
    return [word for word in (*LITTLE, UNTRACKED) if word.partition("=")[0] not in typed]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with the runs that the pages speak of, each trained for one step."""
    nodes = PROJECTS["plans.md"]["nodes"]
    projects = {"kits": ["kits"], "demo": ["demo"], "abdomen": ["kits", "lits"], "cysts": ["kits"], "nodes": nodes}
    place = World(tmp_path_factory.mktemp("trained"), projects)
    runs = place.home / "fran" / "cold" / "checkpoints" / "kits"
    with place.at():
        place.make_projects()
        for words in (
            ["cv", "folds=[0,1]", UNTRACKED],
            ["train", "tracking=mlflow", "tracking.register=true"],  # plan1-dynunet-f0-2
            ["train", "plan=plan2", UNTRACKED],
            ["train", "plan=fine", UNTRACKED],
            ["train", "run=coarse-dynunet-f0-1", UNTRACKED],
            ["train", "run=job-of-cluster", "tracking=offline"],
            ["train", "-m", "trainer.optimiser.lr=0.01,0.001", UNTRACKED],
        ):
            status, said = run(["fran", *words, "project=kits", *LITTLE])
            assert status == 0, said
        shutil.copytree(runs / "job-of-cluster", place.data / "copied_from_cluster" / "job-of-cluster")
        predictions = place.data / "predictions"
        shutil.rmtree(predictions)  # label maps without fran's json
        for words in (
            ["infer", "project=kits", "runs=[plan1-dynunet-f0-1]", "input=new", f"output={predictions}", RAW],
            ["score", f"pred={predictions}", f"gt={place.data / 'references'}"],
            ["export", "project=kits", "run=plan1-dynunet-f0-1", "output=kits.zip"],
        ):
            status, said = run(["fran", *words])
            assert status == 0, said
        (place.here / "old").mkdir()
        for folder in ("new", "old"):
            shutil.copy(predictions / "scores.csv", place.here / folder)
    yield place


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_long_commands_run(command: Command, trained: World) -> None:
    runs = trained.home / "fran" / "cold" / "checkpoints" / "kits"
    words = trained.words([word.replace("/mnt/share/runs", str(runs)) for word in command.arguments])
    with trained.at():
        for output in (Path(word.partition("=")[2]) for word in words if word.startswith("output=")):
            # of the command before it, which would be gone on with, or refused
            shutil.rmtree(output, ignore_errors=True) if output.is_dir() else output.unlink(missing_ok=True)
        status, said = run([*words, *little(command)])
    assert (status != 0) == command.fails, said


def probabilities(place: World) -> dict[str, Any]:
    words = ["infer", "project=kits", "runs=[plan1-dynunet-f0-1]", "input=new", "output=likely"]
    status, said = run(["fran", *words, "save_probabilities=true"])
    assert status == 0, said
    shutil.copy(sorted((place.here / "likely").glob("*_probabilities.h5"))[0], place.here / "ct_7_probabilities.h5")
    return {}


def case_file(place: World) -> dict[str, Any]:
    stored = (place.home / "fran" / "cold" / "datasets" / "preprocessed" / "kits").rglob("kits_00004.h5")
    shutil.copy(sorted(stored)[0], place.here)
    return {}


def islands(place: World) -> dict[str, Any]:
    label_map = np.zeros((9, 8, 7), np.uint8)
    label_map[1, 1:4, 1] = label_map[4, 1:3, 1] = label_map[7, 6, 5] = 1
    return {"label_map": label_map}


# what a block needs before it, and what has to be so behind it
BLOCKS: dict[str, tuple[Callable[[World], dict[str, Any]], str]] = {
    "inference.md": (probabilities, "len(names) == len(probabilities) and abs(probabilities.sum(0) - 1).max() < 0.01"),
    "preprocessing.md": (case_file, "image.shape == lm.shape == (96, 96, 96) and case.meta.spacing_mm"),
    "postprocessing.md": (islands, "label_map[7, 6, 5] == 0 and label_map.sum() == 5 and changes"),
    "tracking.md": (lambda place: {}, "version.name == 'kits-plan1-dynunet'"),
}


def test_every_block_of_python_is_executed() -> None:
    """A new one: say in BLOCKS what it needs, and what has to be so behind it."""
    assert sorted(name.partition(":")[0] for name in python_blocks()) == sorted(BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", python_blocks())
def test_blocks_of_python_run(name: str, trained: World) -> None:
    before, behind = BLOCKS[name.partition(":")[0]]
    with trained.at():
        known = before(trained)
        exec(python_blocks()[name].replace("/home/me/fran", str(trained.home / "fran")), known)
        assert eval(behind, known)  # noqa: S307
