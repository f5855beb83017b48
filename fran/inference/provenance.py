"""What is written beside a label map, and whether a label map is the one that would be made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fran
from fran.errors import StoreError
from fran.geometry import Grid
from fran.inference.case import Segmenter
from fran.io.files import file_digest, read_json


def provenance(
    predictor: Segmenter, origin: dict[str, Any], native: Grid, facts: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    """How a label map was made, as plain data.

    Args:
        predictor: the models.
        origin: path and digest of the image, of DICOM the series too.
        native: its grid.
        facts: of the case, such as where it was cut.
        seconds: wall time of the parts.
    """
    guide = facts.get("label_map")
    digests = {"guide": {"path": guide, "digest": file_digest(guide)}} if guide else {}
    return {
        **predictor.describe(),
        **digests,
        "input": origin,
        "case": facts,
        "grid": native.to_dict(),
        "checkpoints": [str(member.path.resolve()) for member in predictor.members],
        "device": str(predictor.device),
        "fran": fran.__version__,
        "seconds": seconds,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_record(path: Path) -> dict[str, Any] | None:
    """What `provenance` gave, from its file; None where there is none that can be read."""
    try:
        stored = read_json(path)
    except StoreError:
        return None
    return stored if isinstance(stored, dict) else None


def differences(predictor: Segmenter, image: str, stored: dict[str, Any]) -> list[str]:
    """Names of what has changed since a record was written; `image` is the digest of the image as it is now."""
    described = predictor.describe()
    wanted = {**described, "image": image}
    found = {**{key: stored.get(key) for key in described}, "image": stored.get("input", {}).get("digest")}
    for key in ("localiser", "postprocess"):  # what is only described where it is used
        if key in stored and key not in described:
            wanted[key], found[key] = None, stored[key]
    guide = stored.get("guide")
    if guide is not None:
        path = Path(str(guide.get("path")))
        wanted["localiser's label map"] = file_digest(path) if path.is_file() else None
        found["localiser's label map"] = guide.get("digest")
    return [key for key, value in wanted.items() if found[key] != value]
