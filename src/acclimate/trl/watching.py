"""Callbacks of any transformers ``Trainer`` that compare the model, as it trains, with what it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import Trainer, TrainerCallback

from acclimate.model.causal import CausalModel
from acclimate.trl.ranks import world_of
from acclimate.trl.refusals import spread
from acclimate.types.errors import UsageError


class Watching(TrainerCallback):  # type: ignore[misc]
    """Looks at the base when the trainer is made, which is before a checkpoint is loaded.

    ``name`` is in its metrics and its sentences; two of a trainer have different ones.
    """

    def __init__(self, name: str, every: int | None) -> None:
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise UsageError(f"{type(self).__name__}: every is {every!r}; accepted: optimizer steps, 1 or more.")
        self.name, self.every = name, every
        self.trainer: Any = None
        self.model: CausalModel | None = None

    def attach(self, trainer: Any) -> None:
        """Logs through the trainer, so that its trackers get the numbers too. :class:`ObjectiveMixin` calls it; another
        trainer's user may."""
        self.trainer = trainer
        self._look(trainer.args, trainer.model, trainer.processing_class)

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if getattr(args, "restore_callback_states_from_checkpoint", False):
            raise UsageError(
                f"{type(self).__name__}: restore_callback_states_from_checkpoint=True makes callbacks anew, without "
                "what they measure; leave it out. This one goes on from a checkpoint by itself."
            )
        self._look(args, kwargs.get("model"), kwargs.get("processing_class"))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.model is None and state.global_step:
            raise UsageError(
                f"{type(self).__name__}: the trainer went on from step {state.global_step} before it saw the base; "
                "give it to the trainer with callbacks=[...], or add it before train()."
            )
        self._look(args, kwargs.get("model"), kwargs.get("processing_class"))

    def due(self, state: Any) -> bool:
        """Whether something is to be measured after this step."""
        last = state.global_step >= state.max_steps
        return last or (self.every is not None and state.global_step % self.every == 0)

    def begin(self, model: CausalModel) -> None:
        """What is to be known of the base."""

    def _look(self, args: Any, network: Any, tokenizer: Any) -> None:
        if self.model is not None:
            return
        for wrong in spread(args):
            raise UsageError(f"{type(self).__name__}: {wrong}")
        if tokenizer is None:
            raise UsageError(f"{type(self).__name__}: the trainer has no processing_class; give the model's tokenizer.")
        peft = network if hasattr(network, "peft_config") and hasattr(network, "get_base_model") else None
        if peft is not None and getattr(peft.active_peft_config, "is_prompt_learning", False):
            raise UsageError(
                f"{type(self).__name__}: the adapter is made of prompts, which stand before the text and not in the "
                "network; accepted: an adapter in the network's layers, such as LoRA."
            )
        self.world = world_of(args)
        inner = network if peft is None else peft.get_base_model()
        self.model = CausalModel(inner, getattr(tokenizer, "tokenizer", tokenizer), peft)
        self.begin(self.model)

    def _log(self, state: Any, metrics: Mapping[str, float]) -> None:
        if self.trainer is not None:
            due = self.trainer.control.should_log  # of the step's own loss, which a log takes for done
            Trainer.log(self.trainer, dict(metrics))  # not a subclass's, which empties means of its own
            self.trainer.control.should_log = due
        else:
            state.log_history.append({**metrics, "step": state.global_step, "epoch": state.epoch})
