"""What a loader process does about signals that are meant for the training it belongs to."""

from __future__ import annotations

import signal
from types import FrameType

GRACE_S = 60.0


def outlive_signals(worker: int) -> None:
    """Let a loader process go on when Ctrl-C, SIGTERM or SIGUSR1 reach the whole group of processes.

    The training wants to finish its step first, and ends its loader processes itself. One that it cannot end any more
    dies `GRACE_S` after a SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die_later)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _die_later(number: int, frame: FrameType | None) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
