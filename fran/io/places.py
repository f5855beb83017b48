"""Where fran keeps what is a user's own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def home() -> Path:
    """Folder of everything fran keeps for a user: ``$FRAN_HOME``, or ``~/fran``."""
    return Path(os.environ.get("FRAN_HOME") or Path.home() / "fran").expanduser().resolve()


def scan_folder(datasource: Path, name: str) -> Path:
    """Folder in `home` for the statistics of a datasource that belongs to no project; one for each place and name."""
    place = hashlib.blake2b(str(datasource.resolve()).encode(), digest_size=5).hexdigest()
    return home() / "scans" / f"{name}_{place}"
