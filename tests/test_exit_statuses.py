"""0 done, 1 something was wrong, 2 the command line or the configuration cannot work, 130 Ctrl-C (test_ctrl_c.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fran.cli import main

WRONG = [
    ("trian", "did you mean 'train'?"),
    ("plan shwo", "did you mean 'show'?"),
    ("help trian", "did you mean 'train'?"),
    ("train --dry-rn", "did you mean '--dry-run'?"),
    ("crops --dry-run", "expected with fran preprocess or fran train or fran cv alone"),
    ("model ls --dry-run", "leave it out here"),
    ("model show dry_run=true", "leave it out here"),
    ("infer runs=[a] input=b --dry-run", "leave it out here"),
    ("score --quite", "did you mean '--quiet'?"),
    ("train kits", "'kits': expected key=value"),
    ("plan list kits", "expected key=value"),
    ("plan diff a b c", "expected 2 names"),
    ("train trianer.max_epochs=1", "did you mean 'trainer'?"),
    ("train max_epochs=1", "did you mean 'trainer.max_epochs'?"),
    ("train trainer.optimiser.l=1", "did you mean 'trainer.optimiser.lr'?"),
    ("train zzz=1", "unknown key 'zzz'; all of them: fran help train\n"),
    ("train learning_rate=1", "nearest: trainer.optimiser.lr, "),
    ("plan show zzz=1", "all of them: fran help plan show"),
    ("infer run=a", "did you mean 'runs'?"),
    ("train plan=plan9", "did you mean 'plan3'?"),
    ("train project=kits", "fran init -t kits"),
    ("train trainer.max_epochs=many", "key: trainer.max_epochs"),
    ("train spacing=[1,1]", "expected three numbers in mm"),
    ("train patch_dim0=30", "patch"),
    ("train --json --dry-run", "json = True"),
    ("preprocess --json", "json"),
    ("score", "add pred="),
    ("infer runs=[a]", "add input="),
    ("init", "fran init -t <title> -i <folder>"),
    ("init -t kits -i nowhere", "found nothing at"),
    ("add-data raw/kits", "fran add-data project=<title> <folder>"),
    ("add-data project=dmo raw/kits", "did you mean 'demo'?"),
    ("add-data project=dmo raw/kits", "fran init -t dmo -i <folder>"),
    ("add-data project=demo", "fran add-data project=demo <folder>"),
    ("check nowhere", "found nothing at"),
    ("fix names", "add folder="),
    ("cache gc keep=some", "expected choices: all, newest"),
    ("model show resunet_t", "did you mean 'resunet_s'?"),
    ("labels tsl find=nothing_like_it", "find: nothing in"),
    ("completion bahs", "did you mean 'bash'?"),
    ("export-excel nowhere --out x.xlsx", "expected plan/*.yaml"),
    ("project status", "make it: fran demo"),
    ("cv show", "make it: fran demo"),
    ("cache ls", "make it: fran demo"),
    ("preprocess", "make it: fran demo"),
    ("train preset=cpu", "make it: fran demo"),
    ("infer runs=[a] input=nowhere", "no checkpoint of 'a'"),
    ("infer runs=[nosuch.zip] input=nowhere", "no such file or folder 'nosuch.zip' in /"),
    ("infer runs=[/nosuch/best.ckpt] input=nowhere", "no such file or folder '/nosuch/best.ckpt'; give its path"),
    ("report run=nothing", "found no 'nothing'"),
    ("train -t kits -p plan1 fold=1", "type fran train project=kits plan=plan1 fold=1 "),
    ("infer -e a b -i new", "type fran infer 'runs=[a,b]' input=new "),
    ("project_init -t kits -i raw/kits", "today: fran init -t kits -i raw/kits\n"),
    ("analyze_resample.py -t kits -p plan2 -n 4", "today: fran preprocess project=kits plan=plan2 preprocess.num"),
    ("ensemble.sh -e a b -i new", "today: fran infer 'runs=[a,b]' input=new\n"),
]
FAILED = [
    ("ui", "train a run first"),
    ("score pred=nowhere gt=nowhere", "expected a folder of label maps"),
    ("import-excel nowhere.xlsx --out x", "expected a workbook"),
]


@pytest.mark.parametrize(
    ("line", "words", "status"),
    [*((*w, 2) for w in WRONG), *((*f, 1) for f in FAILED)],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said_and_has_its_status(
    line: str,
    words: str,
    status: int,
    fran_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fran", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == status and said.out == ""
    assert words in said.err and "Traceback" not in said.err
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


@pytest.mark.slow
@pytest.mark.parametrize("line", ["--help", "train --help", "plan list", "plan list --json", "labels tsl"])
def test_a_reader_that_has_seen_enough_is_no_failure(line: str, fran_home: Path) -> None:
    command = [sys.executable, "-m", "fran.cli", *line.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (0, b"")
