"""`method: auto`: short runs choose the setting of the run that follows."""

from acclimate.verbs.search.choose import search
from acclimate.verbs.search.foresight import Foresight, foresee
from acclimate.verbs.search.frozen import check_frozen, freeze

__all__ = ["Foresight", "check_frozen", "foresee", "freeze", "search"]
