"""What became of a forgetting budget: one word a run, a sentence, and what would help. Plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from acclimate.config.load import RunConfig
from acclimate.paired.metrics import BITS
from acclimate.training.control.budget import Budget, shown
from acclimate.training.control.candidate import Candidate
from acclimate.training.control.retention import PATIENCE, Followed

Word = Literal["met", "met within noise", "slack", "infeasible", "too short"]


@dataclass(frozen=True)
class Outcome:
    word: Word
    says: str
    helps: tuple[str, ...]


def outcome(config: RunConfig, budget: Budget, state: Followed, chosen: Candidate, last: Candidate) -> Outcome:
    """
    Args:
        chosen: the weights that become the model.
        last: those of the last step.
    """
    section = config.retain
    assert section is not None
    word = word_of(budget, state, chosen, section.low, section.steer)
    where = "the last step" if chosen.step == last.step else f"step {chosen.step} of {last.step}"
    moved = "" if chosen.alpha == 1 else f", {chosen.alpha:.2g} of the way from the start"
    domain = "" if math.isnan(chosen.domain) else f" The domain's bits per byte change by {chosen.domain:+.1f} %."
    says = f"retain: {word}. The model is that of {where}{moved}: {spelt(budget, chosen)}.{domain}"
    if word == "slack":
        says += f" The strength fell to its least, {section.low:g}, so the budget does not bind."
    if word == "infeasible" and section.steer:
        says += f" At the largest strength, {section.high:g}, the last step spends {shown(last.spent)}."
    helps = (*_helps(word, config, state, last), *_noise(budget, chosen))
    return Outcome(word, says, helps)


def word_of(budget: Budget, state: Followed, chosen: Candidate, low: float, steer: bool) -> Word:
    """What became of the budget, of a run whose strength was moved down to ``low`` at the least, or not at all."""
    noise = all(
        value.value <= budget.limits[name] or (value.bounded and value.low <= budget.limits[name])
        for name, value in chosen.values.items()
    )
    if state.at_bound >= PATIENCE:
        return "infeasible"
    if chosen.inside:
        at_least = steer and state.checks and state.checks[-1][2] <= low * (1 + 1e-9)
        return "slack" if at_least and state.checks[-1][1] <= 1 else "met"
    if noise:
        return "met within noise"
    return "too short" if steer else "infeasible"


def spelt(budget: Budget, chosen: Candidate) -> str:
    """``KL(base || model) of held-out text is 0.047 (0.041 to 0.053) of 0.05 nats a token``."""
    parts = []
    for name, value in chosen.values.items():
        limit = budget.limits[name]
        of = "held-out text" if budget.of_mean else f"'{name}'"
        if budget.metric == BITS:
            interval = f" ({value.low:+.2%} to {value.high:+.2%})" if value.bounded else ""
            parts.append(f"bits per byte of {of} change by {value.value:+.2%}{interval} of {limit:+.2%}")
        else:
            interval = f" ({value.low:.3g} to {value.high:.3g})" if value.bounded else ""
            parts.append(f"drift of {of} is {value.value:.3g}{interval} of {limit:g} nats a token")
    return "; ".join(parts)


def _helps(word: Word, config: RunConfig, state: Followed, last: Candidate) -> Iterator[str]:
    if word == "slack":
        yield "a higher optimizer.learning_rate or more steps can use what is left; sft would keep this budget too."
    if word not in ("infeasible", "too short"):
        return
    rate = config.optimizer.learning_rate
    if last.spent > 1:
        yield (
            f"optimizer.learning_rate: about {rate / math.sqrt(last.spent):.2g} instead of {rate:g}; drift grows about "
            "with its square."
        )
    if word == "too short" and (steps := _steps_left(state.checks)) is not None:
        yield f"about {steps} more steps, at the rate at which the last checks came down."
    yield "more general text: a larger share of the sources that hold the model, or more of them."
    if config.lora is None:
        yield "lora: an adapter drifts less than full tuning."
    elif config.lora.rank > 1:
        yield f"lora.rank: {max(1, config.lora.rank // 2)} instead of {config.lora.rank}."


def _noise(budget: Budget, chosen: Candidate) -> Iterator[str]:
    """Of limits that the validation documents cannot tell from nothing."""
    for name, value in chosen.values.items():
        limit = budget.limits[name]
        if not value.bounded or value.high - value.low > 2 * limit:
            known = f"no better than to {(value.high - value.low) / 2:.2g}" if value.bounded else "of too few documents"
            yield (
                f"evaluation.validation_documents: what is spent of {limit:g} ({name}) is known {known}; raise it, so "
                "that the budget can be told from noise."
            )


def _steps_left(checks: Sequence[Sequence[float]]) -> int | None:
    """Until the budget would be reached, if the logarithm of what is spent goes on falling as at the last three checks.

    >>> _steps_left([[10, 4.0, 1.0], [20, 2.0, 1.5], [30, 1.5, 2.0]])
    9
    """
    tail = checks[-3:]
    if len(tail) < 2 or min(tail[0][1], tail[-1][1]) <= 1 or tail[-1][1] >= tail[0][1]:
        return None
    fall = math.log(tail[0][1] / tail[-1][1]) / (tail[-1][0] - tail[0][0])
    return math.ceil(math.log(tail[-1][1]) / fall)
