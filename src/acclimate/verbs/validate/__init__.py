"""Before training: the resolved plan of a run, what will be used, dropped and trained, and what it costs."""

from acclimate.verbs.validate.before import print_before
from acclimate.verbs.validate.page import print_preflight
from acclimate.verbs.validate.preflight import Preflight, data_record, validate
from acclimate.verbs.validate.reading import read_as
from acclimate.verbs.validate.warnings import warnings

__all__ = [
    "Preflight", "data_record", "print_before", "print_preflight", "read_as", "validate", "warnings",
]  # fmt: skip
