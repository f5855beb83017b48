"""What `fran doctor` finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: was looked at.
        found: as it is.
        severity: "ok", "note" (works; there is something to know) or "problem" (to be mended).
        next_step: what to do about it.
    """

    what: str
    found: str
    severity: Literal["ok", "note", "problem"] = "ok"
    next_step: str = ""


Findings = Iterator[Finding]


def size_text(n_bytes: float) -> str:
    """Bytes for people.

    Example:
        >>> size_text(2.5e9), size_text(64e6)
        ('2.5 GB', '64 MB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def worst(findings: Iterable[Finding]) -> str:
    """The worst severity."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in ("problem", "note") if severity in found), "ok")
