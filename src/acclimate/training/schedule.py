"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from acclimate.config.schema import ScheduleSection


def factor(step: int, total: int, section: ScheduleSection) -> float:
    """Learning rate over its peak for optimizer step ``step`` (0-based) of ``total``.

    Warmup is linear and its first step is not zero. With x the part of the remaining steps that is done:
    cosine ``(1 + cos(pi x)) / 2``, linear ``1 - x``, constant 1, wsd 1 and then linear over the last
    ``decay_ratio`` of all steps, or over what warmup leaves of them; each reaches ``min_ratio`` at the end.
    """
    warmup = section.warmup_steps if section.warmup_steps is not None else round(section.warmup_ratio * total)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    x = (step - warmup) / max(1, total - warmup)
    if section.type == "cosine":
        shape = (1 + math.cos(math.pi * x)) / 2
    elif section.type == "linear":
        shape = 1 - x
    elif section.type == "constant":
        return 1.0
    else:
        decay = max(1, min(round(section.decay_ratio * total), total - warmup))
        shape = min(1.0, (total - step) / decay)
    return section.min_ratio + (1 - section.min_ratio) * shape
