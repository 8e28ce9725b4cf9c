"""The few types that every room shares."""

from acclimate.types.central import (
    IGNORE,
    METHOD_ROUTES,
    PAD_DOCUMENT,
    Batch,
    Callback,
    Chunk,
    GradientTransform,
    LossTerm,
    Metrics,
    Route,
    RoutedTerm,
    Stage,
)
from acclimate.types.plan import (
    Evidence,
    Facts,
    Method,
    Plan,
    PlanContext,
)
from acclimate.types.stream import (
    Batches,
    GradientTaker,
    Stream,
)
from acclimate.types.token_weighting import (
    TokenSelection,
    TokenWeighting,
)

__all__ = [
    "IGNORE",
    "METHOD_ROUTES",
    "PAD_DOCUMENT",
    "Batch",
    "Batches",
    "Callback",
    "Chunk",
    "Evidence",
    "Facts",
    "GradientTaker",
    "GradientTransform",
    "LossTerm",
    "Method",
    "Metrics",
    "Plan",
    "PlanContext",
    "Route",
    "RoutedTerm",
    "Stage",
    "Stream",
    "TokenSelection",
    "TokenWeighting",
]
