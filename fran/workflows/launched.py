"""Trainings whose processes torchrun or SLURM have started.

The first process composes, prepares, names the run and speaks; the others wait for the trainings that it begins and
take part in them. So there is one run folder, one record and one voice, as where fran starts the processes itself.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from fran.errors import FranError
from fran.training.launcher import Place, place

POLL_S = 0.2
#: How long processes wait for each other at the beginning, and the first one for the others to hear of the end.
HELLO, GOODBYE = timedelta(minutes=10), timedelta(seconds=20)
OVER = b""


class Meeting:
    """The store by which the processes will form their group, used before there is one.

    Args:
        here: of this process.

    Raises:
        FranError: the others do not come.
    """

    def __init__(self, here: Place) -> None:
        from torch.distributed.rendezvous import rendezvous

        if here.by == "SLURM":
            from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

            environment = SLURMEnvironment()
            # asking for them puts them into os.environ, from where the group will take them
            assert environment.main_address and environment.main_port
        url = f"env://?rank={here.rank}&world_size={here.world_size}"
        self.here = here
        try:
            self._store = next(iter(rendezvous(url, timeout=HELLO)))[0]
        except RuntimeError as error:
            raise FranError(
                f"expected {here.world_size} processes, as {here.by} says, but they did not find each other within"
                f" {HELLO.seconds // 60} minutes; in a batch script of SLURM, begin the command with srun ({error})"
            ) from error
        self._told = 0

    def tell(self, content: bytes) -> None:
        """Say something to all others."""
        self._store.set(f"fran/{self._told}", content)
        self._told += 1

    def hear(self) -> bytes:
        """The next thing that the first process says, hours later perhaps."""
        key = f"fran/{self._told}"
        while not self._store.check([key]):
            time.sleep(POLL_S)
        self._told += 1
        content: bytes = self._store.get(key)
        return content

    def part(self) -> None:
        """Tell the others that nothing more will come, and wait until they know."""
        self.tell(OVER)
        others = [f"fran/heard/{rank}" for rank in range(1, self.here.world_size)]
        try:
            self._store.wait(others, GOODBYE)
        except RuntimeError:
            return  # one of them has ended already; whoever started it says so

    def heard(self) -> None:
        """Answer to `part`."""
        self._store.set(f"fran/heard/{self.here.rank}", b"yes")


_meeting: Meeting | None = None


def run_as_one(verb: Callable[[], None]) -> None:
    """Run a verb that trains in the first of several processes; the others take part in its trainings."""
    global _meeting
    try:
        here = place()
        meeting = None if here is None else Meeting(here)
    except FranError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.status)
    if meeting is None:
        verb()
    elif meeting.here.rank:
        _take_part(meeting)
    else:
        _meeting = meeting
        try:
            verb()
        finally:
            meeting.part()


def hand_out(work: Mapping[str, Any]) -> None:
    """Let the others call `fit` with these arguments, where there are others that wait for it."""
    if _meeting is not None:
        _meeting.tell(pickle.dumps(dict(work)))


def _take_part(meeting: Meeting) -> None:
    from fran.training.rank import take_part

    while True:
        try:
            content = meeting.hear()
        except RuntimeError:
            sys.stderr.write(f"process {meeting.here.rank}: the first process is gone; its own message says why\n")
            sys.exit(1)
        if content == OVER:
            meeting.heard()
            return
        take_part(pickle.loads(content))  # noqa: S301  # from the first process of this job
