"""A forgetting budget in any transformers ``Trainer``: measured, steered where there is a strength, and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor
from transformers.trainer_callback import ExportableState

from acclimate.config.chosen.retain import HIGH, LOW, RetainSection
from acclimate.data.chat.rendering import special_tokens
from acclimate.model.causal import CausalModel
from acclimate.objective.divergence import Divergence
from acclimate.paired.grouped import codes
from acclimate.paired.metrics import BITS, DRIFT
from acclimate.training.callbacks.exceeded import Exceeded, Judge
from acclimate.training.control.budget import MEAN, Budget, shown
from acclimate.training.control.candidate import Candidate, best_of, candidate, furthest_inside
from acclimate.training.control.nupi import pace
from acclimate.training.control.outcome import spelt, word_of
from acclimate.training.control.retention import STRENGTH, Retention
from acclimate.training.probe import GroupsOf, Probe
from acclimate.trl.heldout import Rows, heldout
from acclimate.trl.watching import Watching
from acclimate.types.central import Metrics
from acclimate.types.dials import Dial
from acclimate.types.errors import UsageError, listed

THEN = ("warn", "stop")


@dataclass
class _Between:
    """A trainer between two steps, as callbacks of the loop see it."""

    step: int
    total_steps: int
    control: Any
    say: Callable[[str], None]
    stopping: bool = False

    def end(self, why: str) -> None:
        self.control.should_training_stop = True
        self.say(why.replace("training.on_budget_exceeded", "ForgettingBudget then"))


class ForgettingBudget(Watching, ExportableState):  # type: ignore[misc]
    """How far held-out text may drift from the base, in any ``Trainer``.

    Every ``every`` steps the text is measured against the base. A budget that is exceeded beyond doubt is said, or
    ends the training. With :class:`ObjectiveMixin` the strength of what holds the model (its KL terms) is moved so that
    the budget is spent and not more; every other trainer is watched. After the last step weights that are outside are
    moved back on the line to the base, to the furthest point inside. ``outcome`` then holds a word, a sentence and
    numbers; ``trainer.save_model()`` writes these weights, and checkpoints that were written before hold others.

    It logs ``eval/<set>/<metric>`` (drift in nats a token, bits per byte), ``retain/spent`` (1: all of the budget) and
    ``dial/strength``, as a run of ours does.

    Args:
        name: of the set, or of all of several.
        kl: nats a token, KL(base || model); a number, or one for each set of ``on``.
        bits_per_byte: the relative rise of bits per byte, in its place: ``"1%"`` or 0.01.
        on: held-out text that no step trains on: what ``rows.packed(...).heldout["general"]`` gives, a list of texts,
            a path of :func:`acclimate.text`, or several of these by name.
        every: steps between two checks.
        then: ``warn`` or ``stop`` when the budget is exceeded beyond doubt.
        steer: move the strength, where there is one.
        rescale: move weights that end outside back to the budget.
        low, high: bounds of the strength, as a multiple of the declared weight.
        length: tokens in a row of held-out text.
        say: gets each sentence.

    Raises:
        UsageError: numbers that are no budget, or no text.

    Example:
        >>> from acclimate.trl import ForgettingBudget
        >>> budget = ForgettingBudget("anchor", kl=0.05, on=["The capital of France is Paris."] * 8, every=50)
        >>> budget.budget.limits
        {'mean': 0.05}
    """

    def __init__(
        self,
        name: str = "anchor",
        *,
        on: Any,
        kl: float | Mapping[str, float] | None = None,
        bits_per_byte: float | str | Mapping[str, Any] | None = None,
        every: int = 50,
        then: Literal["warn", "stop"] = "warn",
        steer: bool = True,
        rescale: bool = True,
        low: float = LOW,
        high: float = HIGH,
        length: int = 512,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__(name, every)
        if then not in THEN:
            raise UsageError(f"ForgettingBudget: then is {then!r}; accepted: {listed(THEN)}.")
        given = {"kl": kl, "bits_per_byte": bits_per_byte, "low": low, "high": high, "steer": steer}
        try:
            section = RetainSection.model_validate(given)
        except ValidationError as error:
            told = error.errors()[0]
            where = "".join(f" {part}" for part in told["loc"])
            raise UsageError(f"ForgettingBudget:{where} {told['msg'].removeprefix('Value error, ')}.") from None
        self.sets = dict(on) if isinstance(on, Mapping) else {name: on}
        limits = section.given if isinstance(section.given, dict) else {MEAN: section.given}
        if unknown := [one for one in limits if one != MEAN and one not in self.sets]:
            raise UsageError(f"ForgettingBudget: '{unknown[0]}' has a limit and no text; `on` has {listed(self.sets)}.")
        self.budget = Budget(DRIFT if kl is not None else BITS, limits, tuple(self.sets))
        self.section, self.then, self.length, self._say = section, then, length, say
        self.rescale, self.steer = rescale, steer
        self.dial: Dial | None = None
        """The strength, where an objective has one that is moved."""
        self.outcome: dict[str, Any] | None = None
        self._start: dict[str, Tensor] = {}

    def begin(self, model: CausalModel) -> None:
        rows: dict[str, tuple[str, Rows]] = {
            one: ("general", heldout(text, model.tokenizer, min(self.length, model.positions), one))
            for one, text in self.sets.items()
        }
        metrics = () if self.budget.metric == BITS else (self.budget.metric,)
        special, groups = list(special_tokens(model.tokenizer)), {one: _groups(own) for one, (_, own) in rows.items()}
        every = self.every or 1
        self.probe = Probe(every, rows, special, model, self.world, metrics or (DRIFT,), None, groups)
        if self.rescale and model.peft is None:
            self._start = {name: p.detach().to("cpu", copy=True) for name, p in model.trainable().items()}

    def attach(self, trainer: Any) -> None:
        super().attach(trainer)
        objective = getattr(trainer, "objective", None)
        if not self.steer or objective is None or self.dial is not None:
            return
        if STRENGTH in objective.dials or any(term.strength is not None for term in objective.terms):
            raise UsageError(
                "ForgettingBudget: another budget steers this objective already; set steer=False for one of them."
            )
        if not any(term.anchors for term in objective.terms):
            self.say("no term of the objective holds the model, so the budget is watched and not steered.")
            return
        self.dial = Dial(STRENGTH, 1.0, self.section.low, self.section.high)
        trainer.objective = objective.strengthened(self.dial)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        total, rows = state.max_steps, self._rows()
        rate = _rates(kwargs.get("lr_scheduler"))
        end = rate(total - 1)
        self.retention = Retention(
            self.budget, pace(bool(rows), total), rows, self.dial is not None, lambda step: rate(step) - end
        )
        judge = Judge.of(self.budget, self.probe.independent, math.ceil(total / (self.every or 1)))
        self.exceeded = Exceeded(judge, self.then, self.dial is not None, self.say)
        if state.global_step:
            self._restore(state)

    def _rows(self) -> dict[str, tuple[str, float]]:
        """Metrics of training rows that say how far the model is from its base: metric -> source, factor."""
        if self.dial is None or self.budget.metric != DRIFT:
            return {}
        objective = self.trainer.objective
        return {
            f"loss/{route.source}/{term.name}": (route.source, 1 / term.term.per_nat)
            for term in objective.terms
            if term.reference == "base" and isinstance(term.term, Divergence)
            for route in self.trainer.routes
            if route.name in term.anchors
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        between = _Between(state.global_step, state.max_steps, control, self.say)
        metrics: Metrics = dict(self.trainer.step_metrics) if self.dial is not None else {}
        metrics["learning_rate"] = kwargs["optimizer"].param_groups[0]["lr"]
        measured = self.probe.measured(between)  # type: ignore[arg-type]
        dials = {} if self.dial is None else {STRENGTH: self.dial}
        strength = {} if self.dial is None else {f"dial/{STRENGTH}": float(self.dial)}
        told = self.retention.on_measured(metrics | measured, dials)
        metrics |= measured | told
        self.exceeded.on_step_end(between, metrics)  # type: ignore[arg-type]
        if measured:
            self._log(state, measured | told | strength)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        last = self._candidate(state.global_step)
        candidates = [last]
        if self.rescale and not last.inside:
            end = self._weights()

            def at(alpha: float) -> Candidate:
                self._place(end, alpha)
                return self._candidate(state.global_step, alpha)

            if (found := furthest_inside(at, last)) is not None:
                candidates.append(found)
            self._place(end, best_of(candidates).alpha)
        chosen = best_of(candidates)
        steered = self.dial is not None
        word = word_of(self.budget, self.retention.state, chosen, self.section.low, steered)
        moved = "" if chosen.alpha == 1 else f", {chosen.alpha:.2g} of the way from the base"
        says = f"{word}. The model is that of step {chosen.step}{moved}: {spelt(self.budget, chosen)}."
        if chosen is not last:
            says += f" The last step spent {shown(last.spent)}; trainer.save_model() writes the model that keeps it."
        self.outcome = {
            "outcome": word, "says": says, "alpha": chosen.alpha, "spent": chosen.spent,
            "sets": chosen.record(self.budget), "strength": float(self.dial) if self.dial else None,
            "exceeded": list(self.exceeded.steps),
            "tried": [{"alpha": one.alpha, "spent": one.spent} for one in candidates],
        }  # fmt: skip
        self._log(state, {"retain/final_spent": chosen.spent, "retain/alpha": chosen.alpha})
        self.say(says)

    def say(self, sentence: str) -> None:
        if self.world.is_main:
            self._say(f"ForgettingBudget '{self.name}': {sentence}")

    def _candidate(self, step: int, alpha: float = 1.0) -> Candidate:
        return candidate(self.budget, self.probe.scores(), step, alpha, self.probe.groups)

    def _weights(self) -> dict[str, Tensor]:
        """Trained ones as they are, of an adapter those in which dW is linear: B, whose base is 0."""
        assert self.model is not None
        trained = self.model.trainable()
        kept = trained if self.model.peft is None else {n: p for n, p in trained.items() if ".lora_B." in n}
        if self.model.peft is not None and (other := [n for n in trained if ".lora_" not in n]):
            self.say(
                f"'{other[0]}' is trained beside the adapter's factors, and the line to the base leaves it as it is."
            )
        return {name: p.detach().clone() for name, p in kept.items()}

    @torch.no_grad()
    def _place(self, end: Mapping[str, Tensor], alpha: float) -> None:
        assert self.model is not None
        trained = self.model.trainable()
        for name, last in end.items():
            start = self._start[name].to(last) if name in self._start else torch.zeros_like(last)
            trained[name].copy_(torch.lerp(start, last, alpha))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        if not hasattr(self, "retention"):
            return {"args": {}, "attributes": {"saved": {"name": self.name}}}
        saved = {
            "name": self.name, "retention": asdict(self.retention.state), "exceeded": self.exceeded.state_dict(),
            "strength": None if self.dial is None else float(self.dial),
        }  # fmt: skip
        return {"args": {}, "attributes": {"saved": saved}}

    def _restore(self, state: Any) -> None:
        kept = state.stateful_callbacks.get(type(self).__name__, [])
        listed_ = kept if isinstance(kept, list) else [kept]
        saved = [one["attributes"]["saved"] for one in listed_ if one["attributes"]["saved"]["name"] == self.name]
        if not saved or "retention" not in saved[-1]:
            self.say(f"the checkpoint of step {state.global_step} knows nothing of it; it begins anew.")
            return
        self.retention.load_state_dict(saved[-1]["retention"])
        self.exceeded.load_state_dict(saved[-1]["exceeded"])
        if self.dial is not None and saved[-1]["strength"] is not None:
            self.dial.move(saved[-1]["strength"])


def _groups(rows: Rows) -> GroupsOf:
    """Documents that were held out together are one draw."""
    named: Mapping[int, str] = getattr(rows, "groups", {})
    return lambda ids: codes([named.get(int(number)) for number in ids])


def _rates(scheduler: Any) -> Callable[[int], float]:
    """The learning rate after so many steps, as a part of its peak; constant where the schedule cannot be asked."""
    factors: Sequence[Callable[[int], float]] = getattr(scheduler, "lr_lambdas", ())
    return (lambda step: float(factors[0](step))) if factors else (lambda step: 0.0)
