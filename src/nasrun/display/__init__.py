"""The output: the line of a running stage, tables, and numbers in words."""

from nasrun.display.live import Lines, Live, say, tell, telling, watch, watched
from nasrun.display.tables import Exhibit, is_numeric, table
from nasrun.display.words import bars, duration, integer, percent, storage, summary

__all__ = [
    "Exhibit",
    "Lines",
    "Live",
    "bars",
    "duration",
    "integer",
    "is_numeric",
    "percent",
    "say",
    "storage",
    "summary",
    "table",
    "tell",
    "telling",
    "watch",
    "watched",
]
