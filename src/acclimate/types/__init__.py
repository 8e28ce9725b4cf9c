"""The few types that every room shares."""

from acclimate.types.central import (
    IGNORE,
    METHOD_ROUTES,
    PAD_DOCUMENT,
    PLACE,
    WEIGHTS,
    Batch,
    Callback,
    Chunk,
    GradientTransform,
    LossTerm,
    Metrics,
    Route,
    RoutedTerm,
    Stage,
    TrainingState,
)
from acclimate.types.dials import Controller, Dial, dials_of
from acclimate.types.plan import (
    After,
    Evidence,
    Facts,
    Method,
    Plan,
    PlanContext,
    Settled,
    Tuned,
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
    "PLACE",
    "WEIGHTS",
    "After",
    "Batch",
    "Batches",
    "Callback",
    "Chunk",
    "Controller",
    "Dial",
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
    "Settled",
    "Stage",
    "Stream",
    "TokenSelection",
    "TokenWeighting",
    "TrainingState",
    "Tuned",
    "dials_of",
]
