"""Ctrl-C, as a terminal sends it: to the command and to every process that it has started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.datasources.phantom import make_phantoms
from fran.errors import is_ctrl_c

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
# a test run in the background inherits SIGINT ignored, which Ctrl-C at a terminal never meets
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "sys.argv = ['fran', *sys.argv[1:]]; from fran.cli import main; main()"
)
SMALL = "patch_dim0=32 patch_dim1=16 spacing=[4,4,6] model.filters=4 tracking=none trainer.num_workers=1"
ENDLESS = f"{SMALL} trainer.steps_per_epoch=3 trainer.max_epochs=10000"


class Command:
    """`fran` in a session of its own."""

    def __init__(self, home: Path, arguments: str) -> None:
        environment = {**os.environ, "FRAN_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *arguments.split()],
            **{"env": environment, "cwd": home.parent, "start_new_session": True},
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True},
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def interrupt(self, ready: Callable[[Command], bool], pause: float = 0.0) -> int:
        """Ctrl-C as soon as `ready`, or `pause` seconds later; the exit status."""
        deadline = time.monotonic() + 240.0
        while not ready(self):
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.02)
        time.sleep(pause)
        os.killpg(self.process.pid, signal.SIGINT)
        return self.end(60)

    def end(self, seconds: float = 240.0) -> int:
        try:
            status = self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join(20)
        return status

    def left(self, seconds: float = 10.0) -> list[str]:
        """Processes of the session that are still there after a while."""
        deadline = time.monotonic() + seconds
        while (found := _of_session(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


def _of_session(session: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(its) == session and state != "Z":
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a preprocessed project and a trained run, and raw data beside it."""
    base = tmp_path_factory.mktemp("ctrl_c")
    raw = make_phantoms(base / "raw" / "organs", 12, 0, name="organs")
    home = base / "home"
    quick = f"train project=organs plan=plan1 {SMALL} trainer.steps_per_epoch=2 trainer.max_epochs=1 run=quick"
    for arguments in (f"init -t organs -i {raw}", quick):
        command = Command(home, arguments)
        assert command.end() == 0, command.said
    return base


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "home", tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def well_ended(command: Command, status: int, home: Path, *words: str) -> None:
    assert status == 130, command.said
    assert "Traceback" not in command.said and "leaked" not in command.said, command.said
    for word in words:
        assert word in command.said
    assert command.left() == []
    assert [path for path in home.rglob(".tmp-*") if path.exists()] == []


def files(folder: Path, pattern: str) -> Callable[[Command], bool]:
    return lambda _: any(not path.name.startswith(".") for path in folder.rglob(pattern))


def says(text: str) -> Callable[[Command], bool]:
    return lambda command: text in command.said


def after(seconds: float) -> Callable[[Command], bool]:
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() > end


def test_init(made: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    line = f"init -t organs -i {made / 'raw' / 'organs'}"
    command = Command(home, line)
    status = command.interrupt(files(home / "projects", "*_*.h5"))
    well_ended(command, status, home, "the same command goes on from there")
    again = Command(home, line)
    assert again.end() == 0, again.said
    assert "project organs: 12 cases" in again.said


def test_preprocess(home: Path) -> None:
    line = "preprocess project=organs plan=plan1 spacing=[0.7,0.7,1]"
    before = len(list((home / "cold").rglob("*.h5")))
    command = Command(home, line)
    status = command.interrupt(lambda _: len(list((home / "cold").rglob("[!.]*.h5"))) > before)
    well_ended(command, status, home, "what was finished is kept")
    again = Command(home, line)
    assert again.end() == 0, again.said
    assert "were there already" in again.said and "12 cases preprocessed" not in again.said


@pytest.mark.parametrize("verb", ["train", "cv"])
def test_training(verb: str, home: Path) -> None:
    command = Command(home, f"{verb} project=organs plan=plan1 {ENDLESS}")
    status = command.interrupt(says("epoch 2/"))
    well_ended(command, status, home, "stopped by Ctrl-C at step", "fran train project=organs resume=")
    (checkpoint,) = (home / "cold" / "checkpoints" / "organs").glob("plan1-*/last.ckpt")
    assert checkpoint.is_file()


def test_before_training(home: Path) -> None:
    command = Command(home, f"train project=organs plan=plan1 {ENDLESS}")
    status = command.interrupt(after(2.0))
    well_ended(command, status, home, "interrupted")


def test_infer(home: Path, made: Path, tmp_path: Path) -> None:
    line = f"infer project=organs runs=[quick] input={made / 'raw' / 'organs'} output={tmp_path / 'out'} overlap=0.9"
    command = Command(home, line)
    status = command.interrupt(files(tmp_path, "out/*.nii.gz"))
    well_ended(command, status, tmp_path, "the same command goes on from there")
    again = Command(home, line)
    assert again.end() == 0, again.said
    assert " 0 finished before" not in again.said


def test_score(home: Path, made: Path, tmp_path: Path) -> None:
    raw = made / "raw" / "organs"
    command = Command(home, f"score pred={raw / 'lms'} gt={raw} output={tmp_path / 'out'} samples=20000000")
    status = command.interrupt(after(5.0))
    well_ended(command, status, tmp_path, "interrupted")
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_postprocess(home: Path, made: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('{"1": {"k_largest": 1}, "2": {"dusting_threshold": 3}}')
    line = f"postprocess rules={tmp_path}/rules.json input={made / 'raw' / 'organs' / 'lms'} output={tmp_path / 'out'}"
    command = Command(home, line)
    status = command.interrupt(files(tmp_path, "out/*.nii.gz"))
    well_ended(command, status, tmp_path, "the same command goes on from there")
    again = Command(home, line)
    assert again.end() == 0, again.said
    assert " 0 finished before" not in again.said and len([*(tmp_path / "out").glob("*.nii.gz")]) == 12


def test_export(home: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "out" / "quick.zip"
    command = Command(home, f"export project=organs run=quick output={bundle}")
    status = command.interrupt(lambda _: any(bundle.parent.glob(".tmp-*")))
    well_ended(command, status, tmp_path, "nothing half done is left")
    assert not bundle.exists()


def test_export_nnunet(made: Path, tmp_path: Path) -> None:
    # other values, so that no label map can be linked: every case takes its time
    raw = Datasource(made / "raw" / "organs").relabel({1: 4}, tmp_path / "raw" / "organs").folder
    home, folder = tmp_path / "home", tmp_path / "nnUNet_raw" / "Dataset501_Organs"
    home.mkdir()
    begun = Command(home, f"init -t organs -i {raw}")
    assert begun.end() == 0, begun.said
    command = Command(home, f"export-nnunet project=organs output={folder}")
    status = command.interrupt(lambda _: any(folder.parent.glob(".tmp-*/labelsTr/*.nii.gz")))
    well_ended(command, status, tmp_path, "nothing half done is left")
    assert not folder.exists()


def test_demo(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = Command(home, "demo cases=5 new_cases=1")
    home.mkdir(exist_ok=True)
    status = command.interrupt(says("epoch 1/"))
    well_ended(command, status, home, "stopped by Ctrl-C at step", "the same command goes on from there")
    again = Command(home, "demo cases=5 new_cases=1")
    status = again.interrupt(says("resume=demo"), pause=2.0)  # after the start of the interpreter, which says more
    well_ended(again, status, home, "$ fran train project=demo resume=demo")


def test_ctrl_c_is_found_behind_what_a_library_makes_of_it() -> None:
    try:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("tidying up")
    except AttributeError as error:
        assert is_ctrl_c(error)
    assert not is_ctrl_c(ValueError("x")) and not is_ctrl_c(None)
