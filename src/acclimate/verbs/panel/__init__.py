"""Panels: the same items put to a model and to its base."""

from acclimate.measurement.panel.schema import PanelConfig, load_panel, panel_digest
from acclimate.verbs.panel.evaluate import PanelResult, evaluate_panel

__all__ = ["PanelConfig", "PanelResult", "evaluate_panel", "load_panel", "panel_digest"]
