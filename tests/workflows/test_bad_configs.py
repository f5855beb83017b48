"""Mistakes that people make in a configuration: each gives one clear message, before any work.

The table is worked off in this process; a handful goes through the real command, which must say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fran.workflows import cv, infer, score, train
from fran.workflows.entry import refusal
from fran.workflows.schema import CvConfig, InferConfig, PreprocessVerbConfig, ScoreConfig, TrainConfig

H = "# @package _global_\n"
VERBS: dict[str, tuple[Any, ...]] = {
    "train": (TrainConfig, train.check),
    "cv": (CvConfig, cv.check),
    "preprocess": (PreprocessVerbConfig, lambda config: ()),
    "infer": (InferConfig, infer.check),
    "score": (ScoreConfig, score.check),
}


@dataclass(frozen=True)
class Bad:
    """A mistake: what is typed, what the message must hold, and plan files (``p`` is chosen where there is one)."""

    overrides: str
    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    verb: str = "preprocess"

    @property
    def arguments(self) -> list[str]:
        typed = self.overrides.split("|") if self.overrides else []
        return typed if "p" not in self.files else ["plan=p", *typed]

    def __str__(self) -> str:
        return f"{self.verb} {self.overrides or next(iter(self.files.values()))[-60:]!r}"


def typed(overrides: str, *words: str, verb: str = "preprocess") -> Bad:
    return Bad(overrides, words, verb=verb)


def plan(text: str, *words: str, overrides: str = "", **others: str) -> Bad:
    return Bad(overrides, words, {"p": H + text, **{name: H + content for name, content in others.items()}})


def raw(text: str, *words: str) -> Bad:
    return Bad("", words, {"p": text})


SPACING = [
    typed("spacing=[1,1]", "spacing = [1.0, 1.0]", "three numbers in mm", "command line: spacing=[1,1]"),
    typed("spacing=[0.8,1.5]", "for instance [0.8,0.8,1.5]"),
    typed("spacing=[]", "for instance [0.8,0.8,1.5]"),
    typed("spacing=[1,1,1,1]", "three numbers in mm"),
    typed("spacing=[0,1,1]", "each from 0.05 to 50"),
    typed("spacing=[-1,1,1]", "each from 0.05 to 50"),
    typed("spacing=[800,800,1500]", "each from 0.05 to 50"),
    typed("spacing=[nan,1,1]", "each from 0.05 to 50"),
    typed("spacing=fast", "spacing"),
    typed("spacing=1", "expected a list"),
    typed("spacing=[1,1,mm]", "spacing[2]"),
    typed("spacing=null", "spacing"),
    typed("spacing=[1,1", "quote lists for your shell"),
    typed("spacing=0.8,0.8,1.5", "several values", "[0.8,0.8,1.5]"),
    typed("spacin=[1,1,1]", "did you mean 'spacing'"),
    typed("+spacin=[1,1,1]", "did you mean 'spacing'"),
    typed("Spacing=[1,1,1]", "did you mean 'spacing'"),
    typed("presett=cpu", "did you mean 'preset'", verb="train"),
    plan("plan_name: p\nspacing: [1, 1]\n", "three numbers in mm", "p.yaml:3"),
    plan("plan_name: p\nspacing: 1x1x1\n", "spacing", "p.yaml"),
]
PATCH = [
    typed("patch_dim0=a", "patch_dim0"),
    typed("patch_dim0=64.5", "patch_dim0"),
    typed("patch_dim0=0", "from 1 to 1024"),
    typed("patch_dim1=-8", "from 1 to 1024"),
    typed("patch_dim0=5000", "from 1 to 1024"),
    typed("patch_dim0=[64,64]", "patch_dim0"),
    typed("patch_dim=64", "did you mean 'patch_dim1'"),
    typed("patch_size=[64,64,64]", "write patch_dim0 (x and y) and patch_dim1 (z)"),
    typed("patch_dim0=100", "nearest: patch_dim0=96 patch_dim1=48 or patch_dim0=112", verb="train"),
    typed("patch_dim1=50", "patch_dim1 = 50", "nearest: patch_dim0=64 patch_dim1=48", verb="train"),
    typed("model=segresnet|patch_dim0=66|patch_dim1=33", "nearest: patch_dim0=64 patch_dim1=32", verb="train"),
    typed("patch_dim0=4|patch_dim1=4", "at least 3", verb="train"),
    typed("patch_overlap=1", "from 0 up to, but not, 1"),
    typed("patch_overlap=-0.1", "from 0 up to, but not, 1"),
    typed("patch_overlap=25", "0.25 for 25 per cent"),
    typed("patch_overlap=25%", "patch_overlap"),
]
NUMBERS = [
    typed("expand_by=-5", "from 0 to 1000"),
    typed("expand_by=[0.2,0.1,0.1]", "expand_by"),
    typed("expand_by=nan", "from 0 to 1000"),
    typed("expand_by=20mm", "expand_by"),
    typed("samples_per_file=0", "1 crop or more"),
    typed("samples_per_file=1.5", "samples_per_file"),
    typed("sample_per_file=2", "did you mean 'samples_per_file'"),
    typed("use_fg_indices=maybe", "use_fg_indices"),
    typed("half_precision=fp16", "half_precision"),
    typed("clip_hu=[400,-200]", "the lower one first, such as [-200,400]; or null"),
    typed("clip_hu=[-200]", "two whole numbers from -32768 to 32767"),
    typed("clip_hu=[-200,40000]", "two whole numbers from -32768 to 32767"),
    typed("clip_hu=[-200,air]", "clip_hu"),
    typed("vip_label=0", "from 1 to 65535, or null"),
    typed("vip_label=tumour", "vip_label"),
    typed("fg_indices_exclude=[0]", "from 1 to 65535"),
    typed("fg_indices_exclude=1", "expected a list"),
]
MODES = [
    typed("mode=lbdd", "did you mean 'lbd'", "kbd"),
    typed("mode=Source", "did you mean 'source'"),
    typed("mode=patches", "did you mean 'patch'"),
    typed("mode=[lbd]", "mode"),
    typed("mode=rbd", "localiser", "folder of label maps"),
    typed("mode=kbd", "where mode kbd cuts"),
    plan(
        "defaults: [a, _self_]\nplan_name: p\nsource_plan: a\nmode: lbd\n",
        "source_plan = a",
        "a has mode pbd",
        a="plan_name: a\nmode: pbd\n",
    ),
    plan(
        "defaults: [a, _self_]\nplan_name: p\nsource_plan: a\nmode: pbd\n",
        "a has mode whole",
        "p.yaml:4",
        a="plan_name: a\nmode: whole\n",
    ),
]
SOURCES = [
    typed("datasources=[]", "one name at least, or null"),
    typed("datasources=kits", "expected a list"),
    typed("datasources=[a,a]", "each name once"),
    typed("datasource=[a]", "did you mean 'datasources'"),
    typed("lm_groups=[[a],[a]]", "each name once"),
    typed("lm_groups=[[a],[]]", "a name each at least"),
    typed("lm_groups=[a,b]", "lm_groups"),
    typed("datasources=[a,b]|lm_groups=[[a]]", "b is in none"),
]
REMAPPING = [
    typed("imported_folder=/maps", "remapping_imported", "together with imported_folder"),
    typed("merge_imported_labels=true", "the folder to merge from"),
    typed("remapping_source.1=2", "the whole mapping"),
    typed("remapping_source={1:2:3:3}", "remapping_source", "whole numbers from 0 to 65535"),
    typed("remapping_source={0: 1}", "because it is background"),
    typed("remapping_source={1: -1}", "whole numbers from 0 to 65535"),
    typed("remapping_source=[[1,2],[1]]", "two lists of one length, found 2 old and 1 new"),
    typed("remapping_source=[1,2,3]", "two lists [from, to]"),
    typed("datasources=[a,b]|remapping_lbd=[{1: 2}]|mode=lbd", "one for each of the 2 datasources (a, b)"),
    typed("datasources=[a,b]|remapping_source={c: {1: 2}}", "found 'c'"),
    typed("remapping_train=TSL.lunggs", "TSL.lungs", "command line: remapping_train=TSL.lunggs"),
    typed("remapping_train=TSL.label_ful:TSL.lungs", "did you mean TSL.label_full"),
    typed(
        "imported_labels=TSL.al|mode=lbd|imported_folder=/m|remapping_imported=null", "imported_labels", "did you mean"
    ),
    typed("imported_labels=[0]|mode=lbd|imported_folder=/m|remapping_imported=null", "each 1 or more"),
    typed("classes=3", "classes"),
    typed("remapping=[[1],[2]]", "did you mean 'remapping_"),
    typed("remapping_lbd_rbd={1: 2}", "write remapping_lbd"),
    plan("plan_name: p\nimported_folder: /maps\n", "remapping_imported", "together with imported_folder"),
]
NAMES = [
    typed("plan=plam1", "did you mean 'plan1'"),
    typed("plan=plan1.yaml", "did you mean 'plan1'"),
    typed("plan=1", "choices: nodes, plan1"),
    typed("plan=[plan1,plan2]", "-m plan=plan1,plan2"),
    typed("plan=null", "one name"),
    typed("model=3", "choices: dynunet, mednext_b", verb="train"),
    typed("plan=plan1,plan2", "several values", "-m"),
    typed("plan_valid=plam1", "did you mean 'plan1'", "command line: plan_valid=plam1"),
    typed("plan_test=none_such", "null or a plan", "choices: nodes, plan1"),
    typed("plan_valid=plan2", "a plan with this one's spacing ([1.5, 1.5, 3.0]); plan2 has [0.8, 0.8, 1.5]"),
    typed("source_plan=plan2", "write a plan file with defaults: [plan2, _self_]"),
    typed("project=nobody", "fran init -t nobody"),
    typed("notes=a=b", "quote"),
    typed("verbose", "="),
    typed("-spacing=[1,1,1]", "quote"),
]
FILES = [
    raw("plan_name: p\nspacing: [1, 1, 1]\n", f"'{H.strip()}' as the first line", "p.yaml:1"),
    raw("# my plan\n" + H + "plan_name: p\n", f"'{H.strip()}' as the first line"),
    raw("# @package plan\nplan_name: p\n", f"'{H.strip()}' as the first line"),
    raw("", "first line = (empty)", "plan_name = (none)"),
    raw(H, "plan_name = (none)", "p, the file's name"),
    plan("spacing: [1, 1, 1]\n", "plan_name = (none)"),
    plan("plan_name: plan1\n", "plan_name = plan1", "p, the file's name", "p.yaml:2"),
    plan("- plan_name\n", "expected keys and values"),
    plan("plan_name: p\nspacing: [1, 1\n", "expected yaml", "p.yaml:"),
    plan("plan_name: p\n\tspacing: [1, 1, 1]\n", "expected yaml", "p.yaml:3"),
    plan("plan_name: p\nspacing: [1, 1, 1]\nspacing: [2, 2, 2]\n", "duplicate key", "p.yaml:4"),
    plan("plan_name: p\nspacng: [1, 1, 1]\n", "did you mean 'spacing'", "p.yaml:3"),
    plan("plan_name: p\nspacng: [1, 1, 1]\nmod: lbd\n", "2 settings cannot work", "p.yaml:3", "p.yaml:4"),
    plan("plan_name: p\nplan:\n  spacing: [1, 1, 1]\n", "a key of a plan", "p.yaml:3"),
    plan("plan_name: p\nspacing: ${spacingg}\n", "spacingg"),
    plan("plan_name: p\nspacing: ${spacing\n", "p.yaml"),
    plan("defaults: [_self_, plan1]\nplan_name: p\n", "_self_ as the last entry", "p.yaml:2"),
    plan("defaults: [plan1]\nplan_name: p\n", "_self_ as the last entry"),
    plan("defaults: [plam1, _self_]\nplan_name: p\n", "did you mean 'plan1'", "p.yaml:2"),
    plan("defaults: plan1\nplan_name: p\n", "defaults", "p.yaml:2"),
    plan("plan_name: p\nsource_plan: plan1\n", "write defaults: [plan1, _self_]", "p.yaml:3"),
    plan("defaults: [plan1, _self_]\nplan_name: p\nsource_plan: plan2\n", "one of the parents in defaults (plan1)"),
    plan("defaults: [p, _self_]\nplan_name: p\n", "p -> p", "p.yaml:2"),
    plan(
        "defaults: [a, _self_]\nplan_name: p\n",
        "p -> a -> b -> p",
        "b.yaml:2",
        a="defaults: [b, _self_]\nplan_name: a\n",
        b="defaults: [p, _self_]\nplan_name: b\n",
    ),
    plan(
        "defaults: [a, _self_]\nplan_name: p\nspacing: [1, 1]\n",
        "plan_name = wrong",
        "a.yaml:2",
        a="plan_name: wrong\n",
    ),
]
TRAINING = [
    typed("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'", verb="train"),
    typed("trainer.optimizer.lr=1e-3", "did you mean 'trainer.optimiser'?", verb="train"),
    typed("trainer.optimiser=sgd_poly", "a file is chosen with a slash: trainer/optimiser=sgd_poly", verb="train"),
    typed("trainer.loss=dice", "trainer/loss=<file>: did you mean 'dice_ce'? choices: dice_ce,", verb="train"),
    typed("trainer.precision=fp8", "bf16-mixed", verb="train"),
    typed("trainer.optimiser.name=adam", "did you mean 'adamw'", verb="train"),
    typed("trainer.max_time=soon", "HH:MM:SS", verb="train"),
    typed("augmentation.noise_p=3", "from 0 to 1", verb="train"),
    typed("model=dynunett", "did you mean 'dynunet'", verb="train"),
    typed("+model.filterz=8", "did you mean 'filters'", verb="train"),
    typed("model._target_=os.system", "outside the allowed packages", verb="train"),
    typed("fold=7.5", "number of a fold", verb="train"),
    typed("fold=-1", "number of a fold", verb="train"),
    typed("fold=[0,1]", "number of a fold", verb="train"),
    typed("tracking.uri=file:mlruns", "sqlite:///", verb="train"),
    typed("find_batch_size=true", "all folds have one batch size", "trainer.batch_size=<that>", verb="cv"),
    typed("spacing=[1,1]|patch_overlap=2|expand_by=-1|fold=-3|mode=l", "5 settings cannot work", verb="train"),
    typed("runs=[]|input=x", "one run at least", verb="infer"),
    typed("runs=[x]", "input: expected a value", verb="infer"),
    typed("pred=here", "gt = None", "folder of references", verb="score"),
]
ALL = [*SPACING, *PATCH, *NUMBERS, *MODES, *SOURCES, *REMAPPING, *NAMES, *FILES, *TRAINING]


def write(home: Path, files: dict[str, str]) -> None:
    folder = home / "conf" / "plan"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_the_table_has_a_hundred_mistakes() -> None:
    assert len({str(bad) for bad in ALL}) == len(ALL) >= 100


@pytest.mark.parametrize("bad", ALL, ids=str)
def test_a_mistake_gives_one_clear_message(fran_home: Path, bad: Bad) -> None:
    write(fran_home, bad.files)
    said = refusal(bad.verb, *VERBS[bad.verb], bad.arguments)
    for words in bad.words:
        assert words in said
    assert "Traceback" not in said
    assert len(said) < 2000


THROUGH_THE_COMMAND = [
    SPACING[0],
    SPACING[12],
    SPACING[14],
    PATCH[8],
    NAMES[0],
    FILES[0],
    FILES[8],
    FILES[23],
    TRAINING[12],
]


@pytest.mark.parametrize("bad", THROUGH_THE_COMMAND, ids=str)
def test_the_command_says_so_too(fran, fran_home: Path, bad: Bad) -> None:  # type: ignore[no-untyped-def]
    write(fran_home, bad.files)
    done = fran(bad.verb, *bad.arguments)
    assert done.returncode == 2
    for words in bad.words:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
