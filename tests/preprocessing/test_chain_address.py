"""What follows from content addresses, over chains of stages."""

from __future__ import annotations

import errno
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fran.errors import CasesFailed, StoreError
from fran.io.casefile import CaseReader
from fran.io.manifest import MANIFEST_NAME, Manifest
from fran.labels import Remapping
from fran.parallel.backends import backend
from fran.preprocessing.pipeline import Link, run_chain
from fran.preprocessing.relabelling import Relabelling
from fran.preprocessing.run import LOG_NAME, Summary
from fran.preprocessing.sharing import linked
from fran.preprocessing.stages.crop import Cut, Imported
from fran.preprocessing.stages.lbd import LbdStage
from fran.preprocessing.stages.pbd import PbdStage
from fran.preprocessing.stages.source import CaseJob, SourceParams

from .awkward import PATCH, SPACING_MM, VOLUMES, links_of

SOURCE = SourceParams(SPACING_MM)
LBD = LbdStage(SOURCE, Cut(PATCH, 2.0))
PBD = PbdStage(LBD, Cut(PATCH), 0.25)
NOTHING = (0, 3)


@pytest.fixture
def jobs(tmp_path: Path) -> list[CaseJob]:
    names = ("plain", "labels at the border", "no foreground")
    return [VOLUMES[name].write(tmp_path / "raw", f"kits_{i}") for i, name in enumerate(names)]


def links(out: Path, pbd: PbdStage = PBD) -> list[Link]:
    return links_of([pbd.parent.parent, pbd.parent, pbd], out)  # type: ignore[attr-defined]


def told(summaries: list[Summary]) -> list[tuple[int, int]]:
    return [(s.done, s.skipped) for s in summaries]


def contents(out: Path) -> dict[str, bytes]:
    """What a run leaves, without diaries, locks and torn temporary files."""
    files = (p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): p.read_bytes() for p in files if p.name != LOG_NAME and p.name[0] != "."}


def test_a_rerun_does_nothing(jobs: list[CaseJob], tmp_path: Path) -> None:
    assert told(run_chain(jobs, links(tmp_path / "out"))) == [(3, 0)] * 3
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert told(run_chain(jobs, links(tmp_path / "out"))) == [NOTHING] * 3
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_one_case_more_costs_one_case(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs[:2], links(tmp_path / "out"))
    assert told(run_chain(jobs, links(tmp_path / "out"))) == [(1, 2)] * 3


def test_another_overlap_cuts_patches_again_and_nothing_else(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs, links(tmp_path / "out"))
    before = contents(tmp_path / "out")
    more = links(tmp_path / "out", replace(PBD, overlap=0.5))
    assert told(run_chain(jobs, more)) == [NOTHING, NOTHING, (3, 0)]
    assert before.items() <= contents(tmp_path / "out").items(), "the former patches stay"


def test_another_margin_keeps_the_first_stage(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs, links(tmp_path / "out"))
    wider = replace(PBD, parent=replace(LBD, cut=Cut(PATCH, 5.0)))
    assert told(run_chain(jobs, links(tmp_path / "out", wider))) == [NOTHING, (3, 0), (3, 0)]


def test_a_changed_case_is_made_again_in_every_stage(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs, links(tmp_path / "out"))
    changed = VOLUMES["crop smaller than the patch"].write(tmp_path / "raw", "kits_0")
    assert told(run_chain([changed, *jobs[1:]], links(tmp_path / "out"))) == [(1, 2)] * 3


def test_plans_share_equal_stages(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs, links(tmp_path / "out")[:2])
    alone = links_of([SOURCE, PbdStage(SOURCE, Cut(PATCH), 0.25)], tmp_path / "out")
    assert told(run_chain(jobs, alone)) == [NOTHING, (3, 0)]


def test_names_of_folders_are_readable_and_differ() -> None:
    stages = [SOURCE, LBD, PBD, replace(PBD, overlap=0.5), replace(LBD, remapping=remapping({2: 1}))]
    names = {f"{s.readable}_{s.key()[:8]}" for s in stages}
    assert len(names) == len(stages)
    assert LBD.readable == "spc_090_110_170_ex002"


def remapping(pairs: dict[int, int]) -> Relabelling:
    return Relabelling.of({"kits": Remapping.of(pairs)})


def test_spelling_does_not_matter_and_meaning_does() -> None:
    same = replace(LBD, remapping=remapping({2: 1, 7: 7}), cut=Cut(PATCH, 2))
    assert same.key() == replace(LBD, remapping=remapping({7: 7, 2: 1.0})).key()  # type: ignore[dict-item]
    assert same.key() != LBD.key()
    folders = (("kits", Path("a")),)
    keys = {LBD.key(), *(replace(LBD, imported=Imported(folders, merge=m)).key() for m in (True, False))}
    assert len(keys) == 3


def test_a_new_imported_map_cuts_its_case_again(jobs: list[CaseJob], tmp_path: Path) -> None:
    guides = tmp_path / "guides"
    for job, name in zip(jobs, ("plain", "plain", "plain"), strict=True):
        VOLUMES[name].write(guides, job.case_id)
    stage = LbdStage(SOURCE, Cut(PATCH), imported=Imported((("*", guides),)))
    chain = links_of([SOURCE, stage], tmp_path / "out")
    run_chain(jobs, chain)
    assert told(run_chain(jobs, chain)) == [NOTHING, NOTHING]
    VOLUMES["labels at the border"].write(guides, "kits_1")
    assert told(run_chain(jobs, chain)) == [NOTHING, (1, 2)]


def cropped_to(guides: Path, out: Path, merge: bool = False) -> list[Link]:
    stage = LbdStage(SOURCE, Cut(PATCH), imported=Imported((("*", guides),), merge=merge))
    return links_of([SOURCE, stage, PbdStage(stage, Cut(PATCH))], out)


def test_moved_imported_maps_keep_their_crops(jobs: list[CaseJob], tmp_path: Path) -> None:
    for job in jobs:
        VOLUMES["plain"].write(tmp_path / "guides", job.case_id)
    before = cropped_to(tmp_path / "guides", tmp_path / "out")
    run_chain(jobs, before)
    digests = [Manifest.load(link.folder).digest() for link in before]
    (tmp_path / "guides").rename(tmp_path / "moved")
    VOLUMES["labels at the border"].write(tmp_path / "moved", "kits_1")
    after = cropped_to(tmp_path / "moved", tmp_path / "out")
    summaries = run_chain(jobs, after)
    assert [(s.done, s.adopted, s.skipped) for s in summaries] == [(0, 0, 3), (1, 2, 0), (1, 2, 0)]
    assert told(run_chain(jobs, after)) == [NOTHING] * 3
    for link, former in zip(after[1:], before[1:], strict=True):
        stored = {p.stat().st_ino for p in former.folder.glob("*.h5")}
        shared = {p.name[:6] for p in link.folder.glob("*.h5") if p.stat().st_ino in stored}
        assert shared == {"kits_0", "kits_2"}, "nothing is stored twice"
    VOLUMES["plain"].write(tmp_path / "moved", "kits_1")
    run_chain(jobs, after)
    assert [Manifest.load(link.folder).digest() for link in after] == digests, "equal content has one address"


def test_another_origin_of_labels_has_a_folder_of_its_own(jobs: list[CaseJob], tmp_path: Path) -> None:
    for job, (one, other) in zip(jobs, (("plain", "labels at the border"), *[("plain", "plain")] * 2), strict=True):
        VOLUMES[one].write(tmp_path / "one", job.case_id)
        VOLUMES[other].write(tmp_path / "other", job.case_id)
    run_chain(jobs, cropped_to(tmp_path / "one", tmp_path / "out"))
    before = contents(tmp_path / "out")
    second = run_chain(jobs, cropped_to(tmp_path / "other", tmp_path / "out"))
    assert [(s.done, s.adopted) for s in second[1:]] == [(1, 2), (1, 2)]
    assert before.items() <= contents(tmp_path / "out").items()
    assert told(run_chain(jobs, cropped_to(tmp_path / "one", tmp_path / "out"))) == [NOTHING] * 3


def test_a_remapping_of_one_datasource_makes_its_cases_alone(jobs: list[CaseJob], tmp_path: Path) -> None:
    mixed = [replace(jobs[0], datasource="lits"), *jobs[1:]]
    run_chain(mixed, links_of([SOURCE], tmp_path / "out"))
    other = replace(SOURCE, remapping=Relabelling.of({"lits": Remapping.of({1: 3}), "kits": None}))
    (summary,) = run_chain(mixed, links_of([other], tmp_path / "out"))
    assert (summary.done, summary.adopted) == (1, 2)


def test_damaged_files_are_not_shared(jobs: list[CaseJob], tmp_path: Path) -> None:
    first, second = (cropped_to(tmp_path / name, tmp_path / "out") for name in ("guides", "moved"))
    for job in jobs:
        VOLUMES["plain"].write(tmp_path / "guides", job.case_id)
    run_chain(jobs, first)
    (tmp_path / "guides").rename(tmp_path / "moved")
    victim = first[1].folder / "kits_1.h5"
    victim.write_bytes(victim.read_bytes()[:-200])
    lbd = run_chain(jobs, second)[1]
    assert (lbd.done, lbd.adopted) == (1, 2) and whole(second[1].folder / "kits_1.h5")


def test_where_links_are_not_possible_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").write_bytes(b"content")
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "link", refused)
    (copy,) = linked([tmp_path / "a.h5"], tmp_path / "out")
    assert copy.read_bytes() == b"content" and not copy.samefile(tmp_path / "a.h5")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.h5"]


def refused(*_: object) -> None:
    raise PermissionError(errno.EPERM, "no links here")


def test_a_missing_imported_map_is_one_failed_case(jobs: list[CaseJob], tmp_path: Path) -> None:
    guides = tmp_path / "guides"
    for case_id in ("kits_0", "kits_2"):
        VOLUMES["plain"].write(guides, case_id)
    stage = LbdStage(SOURCE, Cut(PATCH), imported=Imported((("*", guides),)))
    chain = links_of([SOURCE, stage, PbdStage(stage, Cut(PATCH))], tmp_path / "out")
    with pytest.raises(CasesFailed, match=r"lbd: 1 of 3 cases") as failed:
        run_chain(jobs, chain)
    assert [p.case_id for p in failed.value.problems] == ["kits_1"]
    assert "kits_1.nii.gz: expected a label map that says where to cut" in failed.value.problems[0].found
    assert list(Manifest.load(chain[2].folder).files_by_case()) == ["kits_0", "kits_2"], "the others went on"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_truncated_file_of_any_stage_is_noticed(jobs: list[CaseJob], tmp_path: Path, number: int) -> None:
    chain = links(tmp_path / "out")
    run_chain(jobs, chain)
    expected = contents(tmp_path / "out")
    victim = sorted(chain[number].folder.glob("kits_1*.h5"))[-1]
    victim.write_bytes(victim.read_bytes()[:-200])
    summaries = told(run_chain(jobs, chain))
    assert summaries[number] == (1, 2) and sum(done for done, _ in summaries) == 1
    assert contents(tmp_path / "out") == expected


def test_patches_without_a_manifest_are_adopted_if_all_are_whole(jobs: list[CaseJob], tmp_path: Path) -> None:
    chain = links(tmp_path / "out")
    run_chain(jobs, chain)
    expected = contents(tmp_path / "out")
    (chain[2].folder / MANIFEST_NAME).unlink()
    sorted(chain[2].folder.glob("kits_1_*.h5"))[-1].unlink()
    last = run_chain(jobs, chain)[2]
    assert (last.adopted, last.done) == (2, 1)
    assert contents(tmp_path / "out") == expected


def test_two_processes_write_the_same_bytes(jobs: list[CaseJob], tmp_path: Path) -> None:
    run_chain(jobs, links(tmp_path / "one"))
    run_chain(jobs, links(tmp_path / "two"), num_processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


CHILD = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pickle
if __name__ == "__main__":
    from fran.errors import FranError
    from fran.preprocessing.pipeline import run_chain
    jobs, links, limit = pickle.loads(Path(sys.argv[2]).read_bytes())
    if limit:
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run_chain(jobs, links)
    except FranError as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


def elsewhere(jobs: list[CaseJob], chain: list[Link], folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    """The chain in a process of its own, which may write files of `limit` bytes at most."""
    script, arguments = folder / "child.py", folder / f"{time.monotonic_ns()}.pickle"
    script.write_text(CHILD)
    arguments.write_bytes(pickle.dumps((jobs, chain, limit)))
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, str(script), root, str(arguments)], stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    base = VOLUMES["plain"]
    raw = [base.write(tmp_path / "raw", f"kits_{i}") for i in range(8)]
    chain = links(tmp_path / "killed")
    moments = random.Random(3)
    for _ in range(8):
        process = elsewhere(raw, chain, tmp_path)
        time.sleep(moments.uniform(0.6, 2.5))
        process.kill()
        process.wait()
    run_chain(raw, chain)
    run_chain(raw, links(tmp_path / "undisturbed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_runs_of_one_plan(jobs: list[CaseJob], tmp_path: Path) -> None:
    processes = [elsewhere(jobs, links(tmp_path / "both"), tmp_path) for _ in range(2)]
    assert [p.wait(timeout=120) for p in processes] == [0, 0]
    run_chain(jobs, links(tmp_path / "alone"))
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [60_000, 0], ids=["largest file", "small disk"])
def test_a_full_disk_is_said_once_and_the_rest_is_made_afterwards(
    jobs: list[CaseJob], tmp_path: Path, small_disk: Path, limit: int
) -> None:
    chain = links(tmp_path / "full" if limit else small_disk / "full")
    process = elsewhere(jobs, chain, tmp_path, limit)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.count("full disk") == 1 and "free space" in said and "Traceback" not in said
    assert not [p for p in chain[0].folder.parent.rglob("*.h5") if p.name[0] != "." and not whole(p)]
    if limit:
        run_chain(jobs, chain)
        run_chain(jobs, links(tmp_path / "undisturbed"))
        assert contents(tmp_path / "full") == contents(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs rights that this user has not")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_read_only_store(jobs: list[CaseJob], tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    chain = links(small_disk / "store")
    run_chain(jobs[:2], chain)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert told(run_chain(jobs[:2], chain)) == [(0, 2)] * 3, "nothing to do needs no write access"
    _, said = elsewhere(jobs, chain, tmp_path).communicate(timeout=120)
    assert "expected a folder that can be written to" in said and "Traceback" not in said


def whole(path: Path) -> bool:
    try:
        CaseReader(path).verify()
    except StoreError:
        return False
    return True


@pytest.mark.slow
def test_a_ray_cluster_writes_the_same_bytes(jobs: list[CaseJob], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    run_chain(jobs, links(tmp_path / "alone"))
    run_chain(jobs, links(tmp_path / "ray"), num_processes=2, execute=backend("ray", "local"))
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
