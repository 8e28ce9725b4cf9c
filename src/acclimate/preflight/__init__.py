"""Before training: the resolved plan of a run, what will be used, dropped and trained, and what it costs."""

from acclimate.preflight.page import print_preflight
from acclimate.preflight.validate import Preflight, data_record, validate
from acclimate.preflight.warnings import warnings

__all__ = ["Preflight", "data_record", "print_preflight", "validate", "warnings"]
