"""fran: folders of CT and MR volumes in, segmentation experiments that can be repeated out."""

from __future__ import annotations

__version__ = "0.1.0"
