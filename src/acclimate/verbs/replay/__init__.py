"""Rows that a model writes itself, for `acclimate replay` and for sources with ``path: self``."""

from acclimate.verbs.replay.page import print_report
from acclimate.verbs.replay.sources import Unwritten, with_placeholders, with_rows
from acclimate.verbs.replay.write import replay

__all__ = ["Unwritten", "print_report", "replay", "with_placeholders", "with_rows"]
