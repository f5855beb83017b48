"""Trouble with what is only remembered must not end hours of training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from fran.errors import FranError

log = logging.getLogger(__name__)


EXPECTED: tuple[type[Exception], ...] = (FranError, OSError, ValueError, KeyError, TypeError, RuntimeError)


@contextmanager
def warn_only(what: str, expected: tuple[type[Exception], ...] = EXPECTED) -> Iterator[None]:
    """Turn expected failures of the block into a warning that begins with `what`."""
    try:
        yield
    except expected as error:
        log.warning("%s: %s", what, error)


def warn_only_mlflow(what: str) -> AbstractContextManager[None]:
    """`warn_only`, for MLflow's own errors too."""
    return warn_only(what, trouble())


def trouble() -> tuple[type[Exception], ...]:
    """What goes wrong with an MLflow store: its own errors too."""
    from mlflow.exceptions import MlflowException

    return (*EXPECTED, MlflowException)
