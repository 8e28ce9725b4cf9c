"""The objective as the loss of transformers' ``Trainer`` and of what is built on it, such as TRL's ``SFTTrainer``."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from acclimate.front.models import causal
from acclimate.front.objective import Objective
from acclimate.front.packed import TrainingRows
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.objective.step import Step
from acclimate.parallel.world import SOLO
from acclimate.trl.batches import OWN, batch_of, collate
from acclimate.trl.ranks import world_of
from acclimate.trl.refusals import refuse, refuse_adapter
from acclimate.trl.tags import COLUMN, tag_routes
from acclimate.trl.watching import Watching
from acclimate.types.central import Batch, Metrics, Route
from acclimate.types.errors import UsageError

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

TURN = "acclimate_turn"
"""Key of a batch that is one of a step's."""


@dataclass
class Turn:
    """A micro-batch and its step."""

    step: Step
    batch: Batch
    first: bool
    last: bool


class ObjectiveMixin(_Trainer):  # type: ignore[misc]
    """Makes an :class:`~acclimate.Objective` the loss of a trainer: ``class Trainer(ObjectiveMixin, SFTTrainer): ...``

    Each term is divided by its own tokens of the whole optimizer step, over all accumulated micro-batches and
    processes; every learning rate, optimizer, callback and checkpoint stays the trainer's. References are made of the
    model as it is given: pass the base, also to resume. ``loss/<source>/<term>`` in nats per token joins the logs.

    Rows say which terms they get by a column ``route`` of the data set: the name of a route, or a list of names, one a
    token. Packing (``bfd``), padding-free, completion-only and assistant-only losses keep it.

    Args:
        objective: its references are objects, or functions of the student, such as ``frozen_copy`` and ``adapter_off``.

    Raises:
        UsageError: a setting of the trainer under which loss, gradient or base would be others than the objective says.

    Example:
        >>> import acclimate as ac
        >>> from trl import SFTConfig, SFTTrainer
        >>> class Trainer(ObjectiveMixin, SFTTrainer): ...
        >>> objective = ac.Objective(
        ...     ac.cross_entropy(on="domain"), ac.kl(to="base", on="general"), references={"base": ac.frozen_copy}
        ... )
        >>> rows = ac.mix({"domain": "domain.jsonl", "general": "wiki.jsonl"}, shares={"domain": 0.5, "general": 0.5})
        >>> packed = rows.packed(tokenizer, length=128, tokens=512)
        >>> settings = SFTConfig("out", bf16=False, report_to="none")
        >>> trainer = Trainer(
        ...     name, settings, train_dataset=packed.train, processing_class=tokenizer, objective=objective
        ... )
        >>> trainer.routes == packed.train.routes
        True
    """

    train_dataset: Any
    eval_dataset: Any
    loss_is_scaled_for_ga = True  # by counts of the whole step

    def __init__(self, *args: Any, objective: Objective, **kwargs: Any) -> None:
        if not isinstance(objective, Objective):
            raise UsageError(
                f"ObjectiveMixin: objective is a {type(objective).__name__}; accepted: an acclimate.Objective, such as "
                "Objective(cross_entropy(on='domain'), kl(to='base', on='general'), references={'base': frozen_copy})."
            )
        self.objective = objective
        self._table: tuple[Route, ...] = ()
        if isinstance(given := kwargs.get("train_dataset"), TrainingRows):
            self._table = given.routes
            kwargs["train_dataset"] = self._own(given)
            kwargs["data_collator"] = kwargs.get("data_collator") or collate
        self._reports: dict[str, list[float]] = defaultdict(list)
        self._alone: tuple[Objective, Objective] | None = None
        self.step_metrics: Metrics = {}
        """Of the last optimizer step: ``loss`` and ``loss/<source>/<term>``."""
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # older transformers divide the loss by the number of micro-batches else
        refuse(self)
        self.train_dataset = self._routed(self.train_dataset)
        sets = self.eval_dataset
        self.eval_dataset = (
            {k: self._routed(v) for k, v in sets.items()} if isinstance(sets, dict) else self._routed(sets)
        )
        self.student: CausalModel = causal(self.model, _tokenizer(self.processing_class))
        self.objective = self.objective.bind(self.student).over(world_of(self.args))
        refuse_adapter(self.objective.references, self.student.peft)
        for callback in self.callback_handler.callbacks:
            self._watched_by(callback)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The table of the training rows."""
        return self._table or self.objective.routes

    def _own(self, rows: TrainingRows) -> Any:
        """As TRL wants them: a data set of ``datasets``."""
        if not hasattr(super(), "_prepare_dataset"):
            return rows
        from datasets import Dataset

        return Dataset.from_list([{name: column.tolist() for name, column in row.items()} for row in rows])

    def _get_train_sampler(self, *given: Any) -> Any:
        """Rows of ``acclimate.mix`` in their order, which holds their shares."""
        return SequentialSampler(self.train_dataset) if self._table else super()._get_train_sampler(*given)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in OWN if name not in self._signature_columns]

    def add_callback(self, callback: Any) -> None:
        super().add_callback(callback)
        self._watched_by(self.callback_handler.callbacks[-1])

    def _watched_by(self, callback: Any) -> None:
        if isinstance(callback, Watching):
            callback.attach(self)

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: Any, packing: bool, formatting_func: Any, dataset_name: str
    ) -> Any:
        """TRL's: rows are tokenised first, then labels get their routes, then they are cut and packed."""
        prepare = super()._prepare_dataset  # type: ignore[misc, unused-ignore]
        if "document" in (dataset.column_names or ()):
            return dataset  # rows of acclimate.mix, which are packed
        if COLUMN not in (dataset.column_names or next(iter(dataset))):
            return prepare(dataset, processing_class, args, packing, formatting_func, dataset_name)
        whole = copy.copy(args)
        whole.max_length, whole.shuffle_dataset = None, False
        tokenised = prepare(dataset, processing_class, whole, False, formatting_func, dataset_name)
        return prepare(
            tag_routes(tokenised, self.objective.routes), processing_class, args, packing, None, dataset_name
        )

    def _routed(self, dataset: Any) -> Any:
        """Tokenised rows with their routes in their labels."""
        columns = getattr(dataset, "column_names", None)
        if not isinstance(columns, list) or COLUMN not in columns or "document" in columns:
            return dataset
        return tag_routes(dataset, self.objective.routes)

    def _batch(self, inputs: Mapping[str, Any]) -> Batch:
        limit = min(self.student.positions, getattr(self.args, "max_length", None) or self.student.positions)
        batch = batch_of(inputs, self.objective.routes, limit).to(self.args.device)
        return replace(batch, routes=self._table) if self._table and "document" in inputs else batch

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of an optimizer step, counted before the first of them is run."""
        raw, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not raw:
            return raw, None
        batches = [self._batch(inputs) for inputs in raw]
        step, last = self.objective.step(batches), len(batches) - 1
        turns = [
            {**inputs, TURN: Turn(step, batch, first=b == 0, last=b == last)}
            for b, (inputs, batch) in enumerate(zip(raw, batches, strict=True))
        ]
        return turns, torch.ones((), device=device)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """A micro-batch's part of the step's loss; while evaluating the loss of this batch alone."""
        if return_outputs:
            raise UsageError("ObjectiveMixin: the objective makes no logits, so there are no outputs to return.")
        self._run_through(model)
        turn: Turn | None = inputs.get(TURN)
        if turn is None:
            batch = self._batch(inputs)
            if self._alone is None or self._alone[0] is not self.objective:
                self._alone = self.objective, self.objective.over(SOLO)
            return self._alone[1].step([batch]).loss(self.student, batch)
        if turn.first:
            turn.step.observe(self.student)
        loss = turn.step.loss(self.student, turn.batch)
        if turn.last:
            self.step_metrics = turn.step.report()
            for name, value in self.step_metrics.items():
                self._reports[name].append(value)
        return loss * self.objective.world.size  # DDP takes the mean of the gradients

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None, **generation: Any
    ) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # of training: an evaluation's is eval_loss
            logs |= {name: sum(own) / len(own) for name, own in self._reports.items() if name != "loss"}
            self._reports.clear()
        super().log(logs, start_time)

    def _run_through(self, model: Any) -> None:
        """Student and references run as the trainer runs the model: wrapped, and in its mixed precision."""
        own = self.accelerator.unwrap_model(model)  # keeps the autocast that accelerate puts around its forward

        def wrapped(**inputs: Any) -> Any:
            return (model if torch.is_grad_enabled() else own)(**inputs)

        self.student.states.through = wrapped
        for reference in self.objective.references.values():
            if isinstance(reference, FrozenCopy) and self.accelerator.native_amp:
                states = reference.model.states
                states.through = _cast(reference.model.peft or states.network, self.accelerator.autocast)


def _cast(network: Any, autocast: Any) -> Any:
    def run(**inputs: Any) -> Any:
        context: AbstractContextManager[Any] = autocast()
        with context:
            return network(**inputs)

    return run


def _tokenizer(processing_class: Any) -> Any:
    if processing_class is None:
        raise UsageError("ObjectiveMixin: processing_class is None; give the model's tokenizer.")
    return getattr(processing_class, "tokenizer", processing_class)
