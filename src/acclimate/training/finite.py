"""A non-finite loss or gradient stops the run before the optimizer step and says where it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from acclimate.objective.step import Step
from acclimate.parallel.shard import local
from acclimate.parallel.world import in_turns
from acclimate.training.training import Training
from acclimate.types.central import PAD_DOCUMENT, Batch, Metrics
from acclimate.types.errors import NonFiniteError


def stop_if_not_finite(training: Training, metrics: Metrics, step: Step) -> None:
    """Raises NonFiniteError naming source and documents when any metric of the step is infinite or NaN.

    Metrics are the same on all ranks, so all come here; the step's micro-batches are this rank's.
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not bad:
        return
    world = training.world
    culprits = sorted({d for found in world.gather(_documents_with_non_finite_loss(training, step)) for d in found})
    if culprits:
        shown = "; ".join(training.document_name(document) for document in culprits[:5])
        more = f" and {len(culprits) - 5} more" if len(culprits) > 5 else ""
        cause = f"the loss of {shown}{more} is not finite"
    else:
        finite = {name: bool(local(grad).isfinite().all()) for name, grad in training.weights.gradients.items()}
        names = [name for name in finite if not all(rank[name] for rank in world.gather(finite))]
        documents = sorted({d for found in world.gather(_documents(step.batches)) for d in found})
        shown = "; ".join(training.document_name(document) for document in documents[:5])
        cause = (
            f"every loss is finite but the gradient of {len(names)} parameters is not (first: "
            f"{names[0] if names else 'none'}); the step held {len(documents)} documents, among them {shown}"
        )
    with world.all_or_none():
        raise NonFiniteError(
            f"Step {training.step + 1} stopped before the optimizer step: {', '.join(bad)} not finite; {cause}. "
            "The weights of the last step are unharmed. Usual causes are a learning rate that is too high or a broken "
            "document: start a new run under another name with a lower optimizer.learning_rate or without the document."
        )


def _documents(batches: Sequence[Batch]) -> list[int]:
    found = {int(d) for batch in batches for d in torch.unique(batch.document) if d != PAD_DOCUMENT}
    return sorted(found)


@torch.no_grad()
def _documents_with_non_finite_loss(training: Training, step: Step) -> list[int]:
    """This rank's documents of the step whose own loss is not finite, with the weights as they are.

    Each is run alone: in a packed row a NaN reaches its neighbours, since attention multiplies it by their zero.
    """
    places = [(batch, document) for batch in step.batches for document in _documents([batch])]
    found = []
    for place in in_turns(training.world, places):
        batch, document = place or (step.batches[0], PAD_DOCUMENT)  # a rank that has no more helps the others
        here = batch.document == document
        here[0, 0] |= place is None
        alone = batch.map(lambda tensor, here=here: tensor[here][None])  # type: ignore[misc]
        loss = training.objective.step([alone], step.means, training.step).loss(training.model, alone)
        if place is not None and not bool(loss.isfinite()):
            found.append(document)
    return sorted(set(found))
