"""The diagonal of the Fisher information over a corpus (EWC)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from acclimate.kernels.projection import Projection
from acclimate.model.causal import CausalModel
from acclimate.stores.recorder import Recorded, Recorder
from acclimate.types.central import IGNORE, PAD_DOCUMENT, Batch, Metrics, TrainingState
from acclimate.types.plan import Plan
from acclimate.types.stream import Stream

SEQUENCES = "sequences"
LOGIT_TOKENS = 256


@dataclass
class Fisher(Recorder):
    """``F = (1/S) sum_s (d l_s / d theta)^2``, l_s the mean negative log-likelihood of sequence s per learned token.

    A sequence is a document; of one longer than ``data.sequence_length``, each piece [ours]. Every sequence has a
    backward pass of its own, so the square is of *its* gradient: the square of a batch's mean gradient is another,
    much smaller quantity. The mean over tokens, where log p of a sequence is the sum, keeps F from growing with
    length squared; the code of EWC-LoRA has it too [from code].

    Args:
        labels: ``true`` takes the text's own tokens (the empirical Fisher), ``sampled`` draws each from the model's
            distribution at that place (the Fisher proper; one more forward).
        seed: of the draws.
    """

    kind: ClassVar[str] = "fisher"
    average: ClassVar[str] = "sequence"

    labels: Literal["true", "sampled"] = "true"
    seed: int = 0
    _state: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _stream: _Alone | None = field(default=None, init=False, repr=False)

    def settings(self) -> dict[str, Any]:
        return {"labels": self.labels}

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        self._state = {name: torch.zeros_like(p) for name, p in params.items()}
        self._state[SEQUENCES] = torch.zeros((), dtype=torch.int64)
        return self._state

    def plan(self, model: CausalModel) -> Plan:
        takes = {name: partial(self._square, name) for name in model.trainable()}
        return replace(super().plan(model), batches=lambda stream: self._alone(stream, model), takes=takes)

    def _alone(self, stream: Stream, model: CausalModel) -> Stream:
        draw = _Draw(model, self.seed) if self.labels == "sampled" else None
        self._stream = _Alone(stream, draw)
        return self._stream

    def _square(self, name: str, gradient: Tensor) -> None:
        assert self._stream is not None
        total: Tensor = self._state[name]
        gradient = gradient.to(total.dtype)
        sequences = self._stream.pieces  # the loss was divided by the step's
        total.addcmul_(gradient, gradient, value=float(sequences**2))

    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> dict[str, float]:
        assert self._stream is not None
        state[SEQUENCES] += self._stream.pieces
        return {}

    def result(self, training: TrainingState, state: Mapping[str, Tensor]) -> Recorded:
        sequences = int(state[SEQUENCES])
        fisher = {name: state[name] / sequences for name in training.weights.masters}
        return Recorded(
            fisher, {"sequences": sequences, "trace": sum(float(f.double().sum()) for f in fisher.values())}
        )


class _Alone:
    """A stream of steps whose micro-batches hold one sequence each, in a row of its own."""

    def __init__(self, stream: Stream, draw: _Draw | None) -> None:
        self._stream, self._draw = stream, draw
        self.pieces = 0
        """Sequences of the step that was handed out."""

    @property
    def step(self) -> int:
        return self._stream.step

    def next_step(self) -> list[Batch]:
        before = self.step
        found = [alone for batch in self._stream.next_step() for alone in sequences_of(batch)]
        self.pieces = len(found)
        return found if self._draw is None else self._draw(found, before)

    def progress(self) -> Metrics:
        return self._stream.progress()

    def state_dict(self) -> dict[str, Any]:
        return self._stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stream.load_state_dict(state)

    def close(self) -> None:
        self._stream.close()


def sequences_of(batch: Batch) -> Iterator[Batch]:
    """Each sequence of a packed batch from which something is learned, as a row of its own."""
    for b in range(len(batch.position_ids)):
        starts = [*(batch.position_ids[b] == 0).nonzero().flatten().tolist(), batch.position_ids.shape[1]]
        for begin, end in pairwise(starts):
            here = (slice(b, b + 1), slice(begin, end))
            if batch.document[b, begin] != PAD_DOCUMENT and bool((batch.labels[here] != IGNORE).any()):
                yield batch.map(lambda tensor, here=here: tensor[here])  # type: ignore[misc]


class _Draw:
    """Labels drawn from the model's own distribution; the same at the same step, also after a stop."""

    def __init__(self, model: CausalModel, seed: int) -> None:
        self._model, self._seed = model, seed
        self._projection = Projection(model.head, torch.promote_types(model.dtype, torch.float32))

    def __call__(self, batches: list[Batch], step: int) -> list[Batch]:
        model, found = self._model, []
        generator = torch.Generator(model.device).manual_seed(self._seed * 2**31 + step)
        for batch in (b.to(model.device) for b in batches):
            with model.inference():
                hidden = model(batch).flatten(0, 1)
                drawn = [
                    self._projection.logits(part).softmax(-1).multinomial(1, generator=generator).flatten()
                    for part in hidden.split(LOGIT_TOKENS)
                ]
            labels = torch.where(batch.labels != IGNORE, torch.cat(drawn).view_as(batch.labels), IGNORE)
            found.append(replace(batch, labels=labels))
        return found
