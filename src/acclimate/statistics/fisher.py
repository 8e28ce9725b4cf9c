"""The diagonal of the Fisher information over a corpus (EWC)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from acclimate.model.projection import Projection
from acclimate.statistics.recorder import Recorded, Recorder
from acclimate.types import IGNORE, PAD_DOCUMENT, Batch

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
    _data: Any = field(default=None, init=False, repr=False)

    def settings(self) -> dict[str, Any]:
        return {"labels": self.labels}

    def init(self, params: Mapping[str, Tensor]) -> dict[str, Any]:
        self._state = {name: torch.zeros_like(p) for name, p in params.items()}
        self._state[SEQUENCES] = torch.zeros((), dtype=torch.int64)
        return self._state

    def attach(self, training: Any) -> None:
        draw = _Draw(training, self.seed) if self.labels == "sampled" else None
        training.data = self._data = _Alone(training.data, draw)
        for name, parameter in training.weights.parameters.items():
            parameter.register_post_accumulate_grad_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def square(parameter: nn.Parameter) -> None:
            assert parameter.grad is not None
            grad, total = parameter.grad, self._state[name]
            grad = grad.to(total.dtype)
            total.addcmul_(
                grad, grad, value=float(self._data.pieces**2)
            )  # the loss was divided by the step's sequences
            parameter.grad = None

        return square

    def update(
        self, grads: Mapping[str, Tensor], params: Mapping[str, Tensor], state: dict[str, Any], step: int
    ) -> dict[str, float]:
        state[SEQUENCES] += self._data.pieces
        return {}

    def result(self, training: Any, state: Mapping[str, Tensor]) -> Recorded:
        sequences = int(state[SEQUENCES])
        fisher = {name: state[name] / sequences for name in training.weights.masters}
        return Recorded(
            fisher, {"sequences": sequences, "trace": sum(float(f.double().sum()) for f in fisher.values())}
        )


class _Alone:
    """A stream of steps whose micro-batches hold one sequence each, in a row of its own."""

    def __init__(self, data: Any, draw: _Draw | None) -> None:
        self._data, self._draw = data, draw
        self.pieces = 0
        """Sequences of the step that was handed out."""

    def next_step(self) -> list[Batch]:
        found = [alone for batch in self._data.next_step() for alone in sequences_of(batch)]
        self.pieces = len(found)
        return found if self._draw is None else self._draw(found)

    def progress(self) -> Any:
        return self._data.progress()

    def state_dict(self) -> Any:
        return self._data.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self._data.load_state_dict(state)

    def close(self) -> None:
        self._data.close()


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

    def __init__(self, training: Any, seed: int) -> None:
        self._training, self._seed = training, seed
        self._projection = Projection(training.model.head, torch.promote_types(training.model.dtype, torch.float32))

    def __call__(self, batches: list[Batch]) -> list[Batch]:
        model, found = self._training.model, []
        generator = torch.Generator(model.device).manual_seed(self._seed * 2**31 + self._training.step)
        for batch in (b.to(model.device) for b in batches):
            with model.inference():
                hidden = model(batch).flatten(0, 1)
                drawn = [
                    self._projection.logits(part).softmax(-1).multinomial(1, generator=generator).flatten()
                    for part in hidden.split(LOGIT_TOKENS)
                ]
            labels = torch.where(batch.labels != IGNORE, torch.cat(drawn).view_as(batch.labels), IGNORE)
            found.append(Batch(**{**vars(batch), "labels": labels}))
        return found
