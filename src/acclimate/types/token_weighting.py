"""What a method may ask of single tokens of a cross-entropy: how much each weighs, and which are learned at all."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class TokenWeighting(Protocol):
    """Maps nats per token [N] to weights [N] of the tokens in their term, whose count stays one of tokens.

    ``means`` [S], if needed, are the mean nats per token of every sequence (a document's piece in its row): ``batch``,
    of the token's micro-batch, for one more product with the head; ``step``, of the optimizer step on all ranks, for
    which the step begins with a pass without gradient.
    """

    @property
    def means_of(self) -> Literal["batch", "step"] | None: ...

    def __call__(self, nats: Tensor, means: Tensor | None) -> Tensor: ...


class TokenSelection(Protocol):
    """Chooses, once before training, which labels are learned; the others become context.

    ``nats`` [n] are those of the untrained base, ``first`` [n] says which labels begin a stretch of learned ones (an
    answer, a document). Returns [n], true where the label is learned.
    """

    def __call__(self, nats: NDArray[np.float32], first: NDArray[np.bool_]) -> NDArray[np.bool_]: ...
