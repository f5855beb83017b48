"""What a plan inherits, what replaces what, and what the command line does to a chain of plans."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fran.errors import ConfigError
from fran.plans.chain import data_stages
from fran.plans.schema import Plan
from fran.workflows.entry import Job, compose_job, problems
from fran.workflows.plans import plan_chain
from fran.workflows.schema import PreprocessVerbConfig, TrainConfig

from .plan_folder import line, write_plan

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


def job(*overrides: str) -> Job[PreprocessVerbConfig]:
    return compose_job("preprocess", PreprocessVerbConfig, overrides)


def plan(*overrides: str) -> Plan:
    return job(*overrides).config


@pytest.fixture
def family(fran_home: Path) -> Path:
    """Three generations: whole volumes, crops of them, patches of those."""
    write_plan(fran_home, "root", mode="source", spacing=[2.0, 2.0, 4.0], expand_by=5, remapping_source={1: 0, 2: 1})
    write_plan(fran_home, "crop", "root", source_plan="root", mode="lbd", expand_by=20, remapping_lbd={3: 4})
    write_plan(fran_home, "patch", "crop", source_plan="crop", mode="pbd", patch_overlap=0.5)
    return fran_home


@pytest.mark.usefixtures("family")
def test_a_child_states_only_what_differs() -> None:
    found = plan("plan=patch")
    assert (found.mode, found.spacing, found.expand_by, found.patch_overlap) == ("pbd", [2.0, 2.0, 4.0], 20.0, 0.5)
    assert found.remapping_source == {1: 0, 2: 1}
    assert found.remapping_lbd == {3: 4}


def test_mappings_replace_each_other_over_three_generations(fran_home: Path) -> None:
    write_plan(fran_home, "a", remapping_source={1: 5, 3: 4}, classes={"left": ["x", "y"]}, remapping_lbd=[[1], [2]])
    write_plan(fran_home, "b", "a", remapping_source={2: 7}, remapping_lbd={8: 9})
    write_plan(fran_home, "c", "b", classes={"right": "z"}, remapping_lbd=[[4], [5]])
    write_plan(fran_home, "d", "c", remapping_source={}, classes=None)
    assert [plan(f"plan={p}").remapping_source for p in "abcd"] == [{1: 5, 3: 4}, {2: 7}, {2: 7}, {}]
    assert [plan(f"plan={p}").remapping_lbd for p in "abc"] == [[[1], [2]], {8: 9}, [[4], [5]]]
    assert [plan(f"plan={p}").classes for p in "acd"] == [{"left": ["x", "y"]}, {"right": "z"}, None]


@pytest.mark.parametrize("before", [{1: 5}, [[1], [5]], "TSL.all", None])
@pytest.mark.parametrize(
    ("override", "value"),
    [("{1: 0, 2: 1}", {1: 0, 2: 1}), ("[[1,2],[0,1]]", [[1, 2], [0, 1]]), ("TSL.lungs", "TSL.lungs"), ("null", None)],
)
def test_the_command_line_replaces_every_form_by_every_form(
    fran_home: Path, before: object, override: str, value: object
) -> None:
    write_plan(fran_home, "a", remapping_source=before)
    write_plan(fran_home, "b", "a")
    assert plan("plan=b", f"remapping_source={override}").remapping_source == value


def test_what_is_printed_is_what_is_composed(fran_home: Path) -> None:
    write_plan(fran_home, "a", remapping_source={1: 5, 3: 4})
    folder = fran_home.parent / "elsewhere"
    write_plan(folder, "b", "a", remapping_source={2: 7}, remapping_lbd=[[1], [2]])
    arguments = ["--config-dir", str(folder / "conf"), "plan=b", "remapping_lbd={5: 6}", "--cfg", "job"]
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["remapping_source"] == {2: 7}
    assert printed["remapping_lbd"] == {5: 6}


@pytest.mark.usefixtures("family")
def test_the_chain_of_the_data_is_the_parents_and_ones_own() -> None:
    chain = plan_chain(job("plan=patch"))
    assert [p.plan_name for p in chain] == ["root", "crop", "patch"]
    assert [p.expand_by for p in chain] == [5, 20, 20]
    stages = data_stages(chain)
    assert [(s.mode, s.plan_name) for s in stages] == [("source", "patch"), ("lbd", "crop"), ("pbd", "patch")]


@pytest.mark.usefixtures("family")
def test_overrides_act_on_the_chain() -> None:
    spacing = plan_chain(job("plan=patch", "spacing=[1,1,3]"))
    assert [p.spacing for p in spacing] == [[1.0, 1.0, 3.0]] * 3
    mode = plan_chain(job("plan=patch", "mode=sourcepbd"))
    assert [p.mode for p in mode] == ["source", "lbd", "sourcepbd"]
    margin = plan_chain(job("plan=patch", "expand_by=7"))
    assert [p.expand_by for p in margin] == [5, 7, 7], "the root states its own"
    default = plan_chain(job("plan=patch", "patch_dim0=96"))
    assert [p.patch_dim0 for p in default] == [96] * 3, "nobody states it"
    own = plan_chain(job("plan=patch", "patch_overlap=0.25"))
    assert [p.patch_overlap for p in own] == [0.0, 0.0, 0.25], "the child's own"


def test_a_child_at_another_spacing_takes_its_chain_along(family: Path) -> None:
    write_plan(family, "fine", "crop", source_plan="crop", mode="whole", spacing=[1.0, 1.0, 1.0])
    stages = data_stages(plan_chain(job("plan=fine")))
    assert [s.mode for s in stages] == ["source", "lbd", "whole"]
    assert [s.spacing for s in stages] == [[1.0, 1.0, 1.0]] * 3


def test_a_variant_of_a_plan_takes_its_place_in_the_chain(family: Path) -> None:
    write_plan(family, "wider", "crop", expand_by=60)
    write_plan(family, "again", "crop", source_plan="crop", expand_by=80)
    assert [p.plan_name for p in plan_chain(job("plan=wider"))] == ["root", "wider"]
    stages = data_stages(plan_chain(job("plan=again")))
    assert [(s.mode, s.expand_by) for s in stages] == [("source", 80), ("lbd", 80)]


def test_the_order_of_parents_decides(fran_home: Path) -> None:
    write_plan(fran_home, "a", notes="a", vip_label=1)
    write_plan(fran_home, "b", notes="b")
    write_plan(fran_home, "both", "a", "b", source_plan="a")
    composed = job("plan=both")
    assert (composed.config.notes, composed.config.vip_label) == ("b", 1)
    assert str(composed.origin("notes")).endswith("b.yaml:3")


def test_plans_in_a_folder_of_their_own(fran_home: Path) -> None:
    write_plan(fran_home, "liver/base", spacing=[3.0, 3.0, 3.0])
    write_plan(fran_home, "liver/fine", "liver/base", "/plan/plan2", source_plan="liver/base", mode="lbd")
    chain = plan_chain(job("plan=liver/fine"))
    assert [p.plan_name for p in chain] == ["base", "fine"]
    assert chain[1].spacing == [0.8, 0.8, 1.5]


@pytest.mark.usefixtures("family")
def test_every_key_knows_where_it_comes_from(family: Path) -> None:
    composed = job("plan=patch", "spacing=[1,1,3]")
    conf = family / "conf" / "plan"
    assert str(composed.origin("expand_by")) == line(conf / "crop.yaml", "expand_by")
    assert str(composed.origin("remapping_source")) == line(conf / "root.yaml", "remapping_source")
    assert str(composed.origin("spacing")) == "command line: spacing=[1,1,3]"
    assert str(composed.origin("vip_label")) == "default"


def test_values_of_a_plan_may_refer_to_others(fran_home: Path) -> None:
    write_plan(
        fran_home, "a", imported_folder="${paths.cold}/maps", remapping_imported={1: "${vip_label}"}, vip_label=7
    )
    write_plan(fran_home, "b", "a", source_plan="a", mode="pbd")
    chain = plan_chain(job("plan=b", "paths.cold=/cold"))
    assert {p.imported_folder for p in chain} == {"/cold/maps"}
    assert {p.remapping_imported[1] for p in chain} == {7}


def test_runs_over_plans_and_values_are_refused_before_the_first_begins(fran, fran_home: Path) -> None:  # type: ignore[no-untyped-def]
    write_plan(fran_home, "broken", "plan1", "plan2")
    (fran_home / "conf" / "plan" / "broken.yaml").write_text("plan_name: broken\n")
    done = fran("preprocess", "-m", "plan=plan1,broken", "spacing=[1,1,1],[2,2,2]")
    assert done.returncode == 2
    assert "first line = plan_name: broken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("family")
def test_a_circle_of_source_plans_is_named(fran_home: Path) -> None:
    write_plan(fran_home, "x", "y", source_plan="y")
    write_plan(fran_home, "y", "z")
    write_plan(fran_home, "z", "x")
    with pytest.raises(ConfigError, match="x -> y -> z -> x"):
        job("plan=x")


def test_other_data_for_validation_must_be_comparable(fran_home: Path) -> None:
    write_plan(fran_home, "a", spacing=[2.0, 2.0, 4.0])
    write_plan(fran_home, "same", "a", mode="whole")
    write_plan(fran_home, "finer", "a", spacing=[1.0, 1.0, 4.0])

    def found(*overrides: str) -> list[str]:
        return [p.expected for p in problems(compose_job("train", TrainConfig, ["plan=a", *overrides]))]

    assert not found("plan_valid=same")
    assert not found("plan_valid=same", "spacing=[1,1,1]"), "both have it from one line"
    assert "finer has [1.0, 1.0, 4.0]" in found("plan_valid=finer")[0]


@given(
    st.lists(st.sampled_from(["source", "lbd", "rbd", "pbd", "sourcepbd", "whole", "patch"]), min_size=1, max_size=5)
)
def test_data_stages_begin_at_fixed_spacing_and_end_with_the_plan(modes: list[str]) -> None:
    chain = [Plan(plan_name=str(i), mode=mode) for i, mode in enumerate(modes)]
    stages = data_stages(chain)
    assert stages[0].mode == "source"
    assert stages[-1].plan_name == chain[-1].plan_name
    assert "source" not in [stage.mode for stage in stages[1:]]
    assert all(a.mode != b.mode for a, b in pairwise(stages))
