"""Routes every token to its loss terms and divides each term by its own count of trained tokens.

The one denominator rule: a term is divided by the number of tokens *it* trains, summed over the micro-batches
and ranks of the optimizer step, or, where a step may hold none of it, by the number that a step is expected to hold.
The mean of micro-batch means, or one count for all terms, would change a term's pull with the batch layout or the
mixture ratio; a sparse term's own count would lose the pull of every step that it is absent from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acclimate.model.causal import CausalModel
from acclimate.model.head import Head
from acclimate.model.projection import Projection
from acclimate.model.reference import Reference
from acclimate.objective.chunked import BlockLoss, Group, chunked_loss
from acclimate.parallel.world import SOLO, World
from acclimate.types import IGNORE, Batch, Chunk, Metrics, Route, RoutedTerm


@dataclass
class Sums:
    """Unweighted nats, token counts and token weights by (term, route); they add up over micro-batches."""

    nats: Tensor  # [K, R] float64
    tokens: Tensor  # [K, R] float64
    weights: Tensor  # [K, R] float64, of the terms' weightings
    loss: Tensor  # [] float64, the weighted and divided sum

    def __iadd__(self, other: Sums) -> Sums:
        self.nats += other.nats
        self.tokens += other.tokens
        self.weights += other.weights
        self.loss += other.loss
        return self

    def over_ranks(self, world: World) -> Sums:
        parts = (self.nats, self.tokens, self.weights, self.loss)
        flat = world.sum(torch.cat([part.flatten() for part in parts]).cpu())
        found = torch.split(flat, [part.numel() for part in parts])
        return Sums(*(part.view(own.shape) for part, own in zip(found, parts, strict=True)))


class Objective:
    """Maps a micro-batch to its share of the step's loss.

    ``loss = sum_k w_k / n_k * sum_i u_i v_k(i) nats_k(i)`` over the tokens i routed to term k. ``n_k`` is the term's
    own count of the whole step (``normalise="term"``), or the count of all trained tokens (``"all"``); ``v_k`` is the
    term's weighting, 1 without one, and changes no count. With
    ``average="sequence"`` u_i is one over the trained tokens of the token's document piece in its row, and n_k counts
    such pieces. ``"all"`` with ``"sequence"`` is the mean over the step's sequences of their means: MoL as its authors
    restate it.

    Args:
        terms: what the plan routes where.
        routes: the run's route table, R entries.
        references: by name, those that ``terms`` ask for.
        expected: [K] of a sparse term what a step is expected to hold of it, in the unit of ``average``; None of the
            others. A sparse term divides by it under ``normalise="term"``, so that its pull over steps is its weight.
    """

    def __init__(
        self,
        terms: Sequence[RoutedTerm],
        routes: Sequence[Route],
        references: Mapping[str, Reference],
        *,
        normalise: str = "term",
        average: str = "token",
        logits_dtype: torch.dtype = torch.float32,
        chunk_tokens: int = 256,
        expected: Sequence[float | None] | None = None,
        world: World = SOLO,
    ) -> None:
        self.terms, self.routes, self.references = tuple(terms), tuple(routes), references
        self.normalise, self.average = normalise, average
        self.logits_dtype, self.chunk_tokens = logits_dtype, chunk_tokens
        self.expected = tuple(expected) if expected is not None else (None,) * len(self.terms)
        self.world = world
        self._projections: list[tuple[Tensor, Projection]] = []
        self._compares: dict[int, set[str]] = {}  # id of each micro-batch of the step -> references
        self._present = torch.zeros(0, len(self.terms), dtype=torch.bool)  # [B, K] some rank's micro-batch b has k
        self._means: dict[int, Tensor] = {}  # of the step's sequences, by term
        self.selects = torch.tensor(  # [K, R] term k sees route r
            [[route.name in routed.routes for route in routes] for routed in self.terms], dtype=torch.bool
        )

    @property
    def active(self) -> np.ndarray:
        """[R] bool: some term learns from this route."""
        return self.selects.any(0).numpy()

    @property
    def compares(self) -> np.ndarray:
        """[R] int64: the references that some term compares this route with, one bit each."""
        names = list(dict.fromkeys(routed.reference for routed in self.terms if routed.reference is not None))
        found = np.zeros(len(self.routes), dtype=np.int64)
        for routed, selected in zip(self.terms, self.selects.numpy(), strict=True):
            if routed.reference is not None:
                found |= selected.astype(np.int64) << names.index(routed.reference)
        return found

    @property
    def observes(self) -> np.ndarray:
        """[R] bool: some term needs the first pass over this route."""
        asking = [routed.weighting is not None and routed.weighting.means_of == "step" for routed in self.terms]
        return self.selects[torch.tensor(asking)].any(0).numpy()

    def count(self, batches: Sequence[Batch]) -> Tensor:
        """Denominator of each term for one optimizer step, over all ranks: [K] float64.

        Args:
            batches: this rank's micro-batches of the step.
        """
        self._projections = [entry for entry in self._projections if not entry[0].requires_grad]  # of the last step
        units = torch.zeros(len(batches), len(self.terms), dtype=torch.float64)
        for b, batch in enumerate(batches):
            units[b] = torch.stack([self._units(batch, k).sum() for k in range(len(self.terms))]).cpu()
        if self.normalise == "all":
            everything = sum(float(self._shares(batch, self.selects.any(0)).sum()) for batch in batches)
            counts = torch.full_like(units[0], everything)
        else:
            counts = units.sum(0)
        if self.world.size > 1:
            counts, units = self._over_ranks(counts, units)
        self._present = units > 0
        self._compares = {id(batch): self._references_of(self._present[b]) for b, batch in enumerate(batches)}
        if self.normalise == "all":
            return counts
        return torch.tensor(
            [own if e is None else e for e, own in zip(self.expected, counts.tolist(), strict=True)],
            dtype=torch.float64,
        )

    def _over_ranks(self, counts: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of both. The units' tells whether *any* rank's b-th micro-batch compares with a reference: then all
        run it, since FSDP gathers its weights together."""
        flat = self.world.sum(torch.cat([counts, units.flatten()]))
        return flat[: len(counts)], flat[len(counts) :].view_as(units)

    def _references_of(self, present: Tensor) -> set[str]:
        """References of the terms k with ``present[k]``."""
        return {t.reference for t, here in zip(self.terms, present.tolist(), strict=True) if here and t.reference}

    def _units(self, batch: Batch, k: int) -> Tensor:
        """[B, T] float64: how much each token weighs in term k; 0 where the term does not look."""
        return self._shares(batch, self.selects[k])

    def _shares(self, batch: Batch, selected: Tensor) -> Tensor:
        """1 for each learned token on a selected route; under sequence averaging one over those of its piece."""
        learned = ((batch.labels != IGNORE) & selected.to(batch.route.device)[batch.route]).double()
        if self.average == "token":
            return learned
        sizes = _by_piece(batch, learned)
        return learned / sizes.clamp_min(1)[_pieces(batch)].view_as(learned)

    def observe(self, model: CausalModel, batches: Sequence[Batch]) -> None:
        """The first pass, for weightings that need the step's mean losses; without one, nothing happens.

        The mean of a sequence does not depend on the micro-batch or rank that it came to, nor does their median.

        Args:
            batches: this rank's micro-batches of the step, which :meth:`count` has seen.
        """
        asking = [k for k, t in enumerate(self.terms) if t.weighting is not None and t.weighting.means_of == "step"]
        found: dict[int, list[Tensor]] = {k: [] for k in asking}
        for b, batch in enumerate(batches):
            if not self._present[b, asking].any():
                continue
            with model.inference():
                hidden = model(batch).flatten(0, 1)
                head = self._projection(model.head, torch.promote_types(hidden.dtype, self.logits_dtype))
                for k in asking:
                    found[k].append(self._sequence_means(batch, k, hidden, head).cpu())
        for k in asking:
            if every := [means for rank in self.world.gather(found[k]) for means in rank]:  # none in a step without
                self._means[k] = torch.cat(every)

    @torch.no_grad()
    def _sequence_means(self, batch: Batch, k: int, hidden: Tensor, head: Projection) -> Tensor:
        """[S] mean nats per token of term k of every sequence that holds some. ``hidden`` is [P, D]."""
        chosen = (batch.labels != IGNORE) & self.selects[k].to(hidden.device)[batch.route]
        nats = torch.zeros(chosen.shape, dtype=torch.float64, device=hidden.device)
        for positions in torch.split(chosen.flatten().nonzero().squeeze(1), self.chunk_tokens):
            labels, document = batch.labels.flatten()[positions], batch.document.flatten()[positions]
            chunk = Chunk(head.logits(hidden[positions]), labels, document)
            nats.view(-1)[positions] = self.terms[k].term(chunk).double()
        sizes = _by_piece(batch, chosen.double())
        return (_by_piece(batch, nats) / sizes)[sizes > 0]

    def __call__(self, model: CausalModel, batch: Batch, counts: Tensor) -> tuple[Tensor, Sums]:
        """This micro-batch's part of the step's loss.

        References run before the student: what they hold in between is free again when the student begins to keep
        its activations for the backward pass.

        Args:
            model: the student.
            counts: [K] from :meth:`count` over all micro-batches of the step.

        Returns:
            The scalar loss, and the unweighted sums for reporting.
        """
        labels, document, route = (x.flatten() for x in (batch.labels, batch.document, batch.route))  # [P]
        chosen = (self.selects.to(route.device)[:, route]) & (labels != IGNORE)  # [K, P]
        compared = self._references_of(chosen.any(1)) | self._compares.get(id(batch), set())
        states = {
            name: reference.hidden(batch).flatten(0, 1)
            for name, reference in self.references.items()
            if name in compared
        }
        hidden, head = model(batch), model.head
        dtype = torch.promote_types(hidden.dtype, self.logits_dtype)  # float64 stays float64, for tests
        seen = {name: (states[name], self._projection(self.references[name].head, dtype)) for name in states}
        units = torch.stack([self._units(batch, k).flatten() for k in range(len(self.terms))])  # [K, P]
        if batch.weights is not None:
            units = units * batch.weights.flatten().double()  # weights scale the nats, never the count
        pull = torch.tensor([routed.weight for routed in self.terms], dtype=torch.float64) / counts
        factors = (units * pull.to(units.device)[:, None]).to(dtype)  # [K, P]
        nats, weights = torch.zeros_like(factors), torch.zeros_like(factors)  # [K, P]
        means = self._means | {
            k: self._sequence_means(batch, k, hidden.flatten(0, 1), self._projection(head, dtype))
            for k, t in enumerate(self.terms)
            if t.weighting is not None and t.weighting.means_of == "batch" and chosen[k].any()
        }

        def loss_of(members: Sequence[int]) -> BlockLoss:
            def loss(positions: Tensor, logits: Tensor, references: Mapping[str, Tensor]) -> Tensor:
                total = logits.new_zeros(())
                for k in members:
                    routed = self.terms[k]
                    other = references[routed.reference] if routed.reference is not None else None
                    per_token = routed.term(Chunk(logits, labels[positions], document[positions], other))  # [m]
                    nats[k, positions] = per_token.detach()
                    if routed.weighting is not None:
                        weights[k, positions] = routed.weighting(per_token.detach(), means.get(k))
                        per_token = per_token * weights[k, positions]
                    total = total + (per_token * factors[k, positions]).sum()
                return total

            return loss

        # Tokens with the same set of terms are chunked together: no chunk computes logits that a term drops, and a
        # reference's product has the student's shape, so that equal hidden states give exactly equal logits.
        groups = []
        pattern = (chosen.long() * (2 ** torch.arange(len(self.terms), device=hidden.device))[:, None]).sum(0)  # [P]
        for signature in torch.unique(pattern).tolist():
            members = [k for k in range(len(self.terms)) if signature >> k & 1]
            names = [name for k in members if (name := self.terms[k].reference) is not None]
            if members:
                positions = (pattern == signature).nonzero().squeeze(1)
                groups.append(Group(positions, {name: seen[name] for name in names}, loss_of(members)))
        student = self._projection(head, dtype)
        loss = chunked_loss(hidden.flatten(0, 1), head, student, groups, self.chunk_tokens)
        zeros = torch.zeros(3, len(self.terms), len(self.routes), dtype=torch.float64, device=hidden.device)
        sums = Sums(zeros[0], zeros[1], zeros[2], zeros.new_zeros(()))
        for k in range(len(self.terms)):
            sums.nats[k].index_add_(0, route[chosen[k]], nats[k, chosen[k]].double())
            sums.weights[k].index_add_(0, route[chosen[k]], weights[k, chosen[k]].double())
            sums.tokens[k].index_add_(0, route[chosen[k]], torch.ones_like(route[chosen[k]], dtype=torch.float64))
        sums.loss += loss.detach()
        return loss, sums

    def _projection(self, head: Head, dtype: torch.dtype) -> Projection:
        """One projection per weight, which references share with the student; of a trained one, one per step."""
        for weight, projection in self._projections:
            if weight is head.weight and projection.dtype == dtype:
                return projection
        projection = Projection(head, dtype)
        self._projections.append((head.weight, projection))
        return projection

    def report(self, sums: Sums) -> Metrics:
        """The step's loss, mean nats per token as ``loss/<source>/<term>``, and the mean weight of a token whose term
        has a weighting as ``weight/<source>/<term>``, over all ranks.

        A term with no token this step is absent; terms of one name are one mean, over the tokens of both.
        """
        sums = sums.over_ranks(self.world)
        found: dict[str, tuple[float, float]] = {}  # sum, tokens
        for k, routed in enumerate(self.terms):
            for source in dict.fromkeys(route.source for route in self.routes):
                rows = [r for r, route in enumerate(self.routes) if route.source == source]
                if (tokens := sums.tokens[k, rows].sum().item()) > 0:
                    measured = [("loss", sums.nats)] + [("weight", sums.weights)] * (routed.weighting is not None)
                    for kind, values in measured:
                        key = f"{kind}/{source}/{routed.name}"
                        before = found.get(key, (0.0, 0.0))
                        found[key] = before[0] + values[k, rows].sum().item(), before[1] + tokens
        return {"loss": sums.loss.item()} | {key: total / tokens for key, (total, tokens) in found.items()}


def _pieces(batch: Batch) -> Tensor:
    """[P] number of each position's piece: every piece of a document restarts at position 0."""
    return (batch.position_ids == 0).flatten().cumsum(0) - 1


def _by_piece(batch: Batch, values: Tensor) -> Tensor:
    """[pieces] sums of ``values`` [B, T]."""
    piece = _pieces(batch)
    sums = torch.zeros(int(piece[-1]) + 1, dtype=values.dtype, device=values.device)
    return sums.index_add_(0, piece, values.flatten())
