"""The batch-size finder under real limits of memory, each in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fran.training import batch_size as finder

SMALL = {"_target_": "fran.networks.dynunet.dynunet", "filters": 8, "max_filters": 32}
CHILD = """
import json, pickle, resource, sys
import torch
spec, mib = pickle.load(sys.stdin.buffer)
from fran.errors import FranError
from fran.training import batch_size as finder
# whatever is imported later would take a part of the limit
import fran.networks.dynunet
size = finder._resident("VmSize")
if mib:
    resource.setrlimit(resource.RLIMIT_AS, (size + mib * 2**20,) * 2)
try:
    found = finder.find_batch_size(spec)
except FranError as error:
    print(json.dumps(str(error)))
    sys.exit()
step = finder.trial_step(spec, torch.device("cpu"), "32-true")
step(found.batch_size)
try:
    step(5 * found.batch_size)
    larger = True
except RuntimeError:
    larger = False
print(json.dumps([found.batch_size, found.patch, larger, str(found)]))
"""


def find(spec, mib):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=pickle.dumps((spec, mib)),
        capture_output=True,
        env=environment,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_batch_fills_the_limit_and_no_more(make_spec):
    spec = make_spec(SMALL, threads=1)
    batch_size, patch, larger, said = find(spec, 600)
    assert 2 <= batch_size < 256
    assert not larger, "four fifths of half of the limit: five times as much cannot fit"
    assert patch * batch_size < 600 * 2**20
    assert said.startswith(f"batch size {batch_size} fits on the CPU: ")


def test_a_step_without_room_leaves_no_gradients(make_spec, monkeypatch):
    made = []
    build = finder.build_network
    monkeypatch.setattr(finder, "build_network", lambda *a: made.append(build(*a)) or made[0])
    step = finder.trial_step(make_spec(SMALL), torch.device("cpu"), "32-true")

    def full(*_):
        assert any(p.grad is not None for p in made[0].parameters())
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", full)
    with pytest.raises(torch.OutOfMemoryError):
        step(1)
    assert all(p.grad is None for p in made[0].parameters())


@pytest.mark.parametrize("compiled", [False, True])
def test_the_network_is_tried_as_it_will_be_trained(make_spec, monkeypatch, compiled):
    compiles = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiles.append(type(self).__name__))
    finder.trial_step(make_spec(SMALL, compile=compiled), torch.device("cpu"), "32-true")
    assert len(compiles) == compiled


@pytest.mark.slow
def test_more_memory_takes_a_larger_batch_and_too_little_is_said(make_spec):
    spec = make_spec(SMALL, threads=1)
    small, large = (find(spec, mib)[0] for mib in (500, 1000))
    assert small < large
    assert "find_batch_size: " in find(spec, 8)
