"""Whether fran is to keep silent, asked before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping

QUIET = "FRAN_QUIET"


def quiet(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether no more is to be said than warnings, errors and answers; processes that are started inherit it."""
    return environment.get(QUIET, "0").lower() not in ("", "0", "false")
