"""Trouble with what is only remembered must not end hours of training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from fran.errors import FranError

log = logging.getLogger(__name__)


@contextmanager
def warn_only(what: str, *more: type[Exception]) -> Iterator[None]:
    """Turn expected failures of the block into a warning that begins with `what`."""
    expected: tuple[type[Exception], ...] = (FranError, OSError, ValueError, KeyError, TypeError, RuntimeError, *more)
    try:
        yield
    except expected as error:
        log.warning("%s: %s", what, error)


def warn_only_mlflow(what: str) -> AbstractContextManager[None]:
    """`warn_only`, for MLflow's own errors too."""
    from mlflow.exceptions import MlflowException

    return warn_only(what, MlflowException)
