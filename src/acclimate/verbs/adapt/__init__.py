"""One command: a configuration by rules that say why, its run, report and verdict."""

from acclimate.verbs.adapt.adapt import Adapted, adapt

__all__ = ["Adapted", "adapt"]
