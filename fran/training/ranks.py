"""Several processes for one training: who this one is, and the others that it starts.

A training on N devices is N processes that each take their share of the crops and of the validation cases. The process
of the command is rank 0: it has prepared everything, keeps the files and speaks to the user. It starts the others
itself, so that none of them composes a configuration, preprocesses, or makes a run folder. Where torchrun or SLURM have
started all processes, nothing is started here, and `fran.workflows.launched` hands the work out.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from fran.errors import ConfigError, FranError
from fran.training.launcher import launched, place

GRACE_S = 20.0
POLL_S = 0.2
TOLD = 2000
log = logging.getLogger(__name__)


@dataclass
class Ranks:
    """The other processes of a training.

    Attributes:
        children: process and the file of its stderr, by rank.
    """

    children: dict[int, tuple[subprocess.Popen[bytes], IO[bytes]]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def fallen(self) -> str:
        """What became of the first process that did not end by itself, in words; empty while all is well."""
        for rank, (process, stderr) in self.children.items():
            if process.poll():
                stderr.seek(0)
                said = stderr.read().decode(errors="replace").strip()[-TOLD:]
                who = f"process {rank} of {len(self.children) + 1} (pid {process.pid})"
                return f"{who} {_how(process.returncode)}" + (f"; its last words:\n{said}" if said else "")
        return ""

    def watch(self) -> None:
        """End this process too when another has fallen and this one cannot notice, waiting for its answer."""
        while not self._over.wait(POLL_S):
            if self.fallen() and not self._over.wait(GRACE_S):
                sys.stderr.write(f"error: {self.fallen()}\nThe other processes are ended; last.ckpt can be resumed.\n")
                sys.stderr.flush()
                self.end()
                os._exit(1)

    def end(self) -> None:
        """End what still runs, and wait for it."""
        self._over.set()
        for process, _ in self.children.values():
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
        for process, stderr in self.children.values():
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            stderr.close()


def _how(status: int) -> str:
    if status > 0:
        return f"failed with exit status {status}"
    hint = " (which the kernel does where memory runs out)" if status == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{hint}"


def n_devices(devices: int, accelerator: str, environment: Mapping[str, str] = os.environ) -> int:
    """Devices of this machine that a training takes; -1 is every GPU.

    Where torchrun or SLURM have started the processes, it is one for each.

    Raises:
        ConfigError: `devices` is another number than they started.
    """
    started = place(environment)
    if started is not None:
        if expected := started.lacking(devices):
            raise ConfigError(f"trainer.devices: expected {expected}, found {devices}")
        return started.local
    if devices >= 1:
        return devices
    return max(1, torch.cuda.device_count()) if accelerator == "gpu" else 1


def n_nodes(environment: Mapping[str, str] = os.environ) -> int:
    """Machines that take part, from what torchrun or SLURM say."""
    started = place(environment)
    return 1 if started is None else started.machines


@contextmanager
def other_ranks(world: int, work: Mapping[str, Any]) -> Iterator[None]:
    """Run the block as rank 0 of `world` processes, the others of which do `work` (see `fran.training.rank`).

    Raises:
        FranError: another process failed or was killed, with its last words.
    """
    if world == 1 or launched():
        yield
        return
    ranks, former = Ranks(), dict(os.environ)
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world), "NODE_RANK": "0"}
    os.environ.update(common, LOCAL_RANK="0")
    try:
        for rank in range(1, world):
            ranks.children[rank] = _start(rank, work)
        threading.Thread(target=ranks.watch, daemon=True, name="fran-ranks").start()
        yield
    except Exception as error:
        if fallen := _wait_for_fall(ranks):
            raise FranError(f"{fallen}\nThe other processes were ended; last.ckpt can be resumed.") from error
        raise
    finally:
        ranks.end()
        leave_group()
        for name in (*common, "LOCAL_RANK"):
            os.environ.pop(name, None)
        os.environ.update(former)


def leave_group() -> None:
    """Let a later training of this process join others; after a failure NCCL would wait for those who are gone."""
    group = torch.distributed
    if group.is_available() and group.is_initialized() and (group.get_backend() != "nccl" or not sys.exc_info()[0]):
        group.destroy_process_group()


def _wait_for_fall(ranks: Ranks) -> str:
    """A broken connection is noticed before the end of the process that broke it."""
    until = time.monotonic() + 2
    while not (fallen := ranks.fallen()) and time.monotonic() < until:
        time.sleep(POLL_S)
    return fallen


def _start(rank: int, work: Mapping[str, Any]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # read after the process has ended, closed by `Ranks.end`
    process = subprocess.Popen(
        [sys.executable, "-m", "fran.training.rank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={**os.environ, "LOCAL_RANK": str(rank), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(dict(work)))
    process.stdin.flush()
    return process, stderr


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
