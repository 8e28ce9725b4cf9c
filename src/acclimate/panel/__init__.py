"""Panels: the same items put to a model and to its base."""

from acclimate.panel.evaluate import PanelResult, evaluate_panel
from acclimate.panel.schema import PanelConfig, load_panel, panel_digest

__all__ = ["PanelConfig", "PanelResult", "evaluate_panel", "load_panel", "panel_digest"]
