"""How fran speaks on a terminal."""

from __future__ import annotations

import logging


class TerminalFormatter(logging.Formatter):
    """The bare message, with the level in front of warnings and errors."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text
