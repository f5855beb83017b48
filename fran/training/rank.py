"""The processes of a training other than the first. As a program: take the work from stdin, do it, leave no word.

The pipe is open as long as rank 0 lives; its end is the end of this process too, also within a collective operation.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from collections.abc import Mapping
from typing import Any

from fran.errors import FranError
from fran.training.fit import fit
from fran.training.interrupt import TrainingInterrupted


def main() -> None:
    """Train as the rank that LOCAL_RANK says."""
    work = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one, through a pipe
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    take_part(work)


def take_part(work: Mapping[str, Any]) -> None:
    """Train along: `fit` with these arguments. Where it fails or is interrupted, the process ends."""
    logging.basicConfig(level=logging.ERROR)
    try:
        fit(**work)
    except TrainingInterrupted:
        sys.exit(0)
    except FranError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _end_with_rank_0() -> None:
    # not through sys.stdin: its lock, held by a daemon thread, makes the interpreter abort where it ends first
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
