"""Statistics of two models on the same items, on arrays alone: no torch, no files.

``change`` is of sums (bits per byte, a divergence), ``accuracy_change`` of right and wrong answers; both give an
:class:`~acclimate.paired.estimate.Estimate`. ``holm`` adjusts the p-values of a family of tests.

>>> import numpy as np
>>> from acclimate import paired
>>> model, base, size = np.array([2.0, 3.0, 2.5]), np.array([2.5, 3.5, 3.0]), np.array([1.0, 1.0, 1.0])
>>> paired.change(model, base, size).value
-0.5
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acclimate.paired.estimate import Estimate
    from acclimate.paired.flips import flips as accuracy_change
    from acclimate.paired.ratio import ratio_change as change
    from acclimate.paired.significance import holm

__all__ = ["Estimate", "accuracy_change", "change", "holm"]
_FOUND_IN = {
    "Estimate": ("estimate", "Estimate"),
    "accuracy_change": ("flips", "flips"),
    "change": ("ratio", "ratio_change"),
    "holm": ("significance", "holm"),
}


def __getattr__(name: str) -> Any:
    # loaded when asked for, as all that is public
    if name not in _FOUND_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _FOUND_IN[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
