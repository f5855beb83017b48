"""Values of tags within MLflow's limit."""

from __future__ import annotations

from collections.abc import Sequence

MAX_TAG = 5000  # MLflow's limit on the value of a tag was 5000 before 3.x
_ROOM = 100  # for saying how many are left out


def fitted_tag(items: Sequence[str], between: str = ", ", rest: str = "") -> str:
    """Items as the value of a tag; how many are left out is said.

    Args:
        items: in words.
        between: two of them.
        rest: where those that are left out can be read.

    Example:
        >>> fitted_tag(["liver", "spleen"]), fitted_tag(["x" * 3000] * 4)[2998:]
        ('liver, spleen', 'xx, … and 3 more')
    """
    text = between.join(items)
    if len(text) <= MAX_TAG:
        return text
    kept, length = 0, 0
    while kept < len(items) and length + len(items[kept]) + len(between) <= MAX_TAG - _ROOM - len(rest):
        length += len(items[kept]) + len(between)
        kept += 1
    shown = list(items[:kept]) or [f"{items[0][: MAX_TAG - _ROOM - len(rest)]}…"]
    left = len(items) - len(shown)
    more = [f"… and {left} more{rest}"] if left else []
    return between.join([*shown, *more])
