"""One optimizer step of an objective: routes every token to its loss terms and divides each term by its count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from acclimate.kernels.chunk_size import CE_COPIES, KL_COPIES, chunk_size
from acclimate.kernels.chunked import BlockLoss, Group, chunked_loss
from acclimate.kernels.head import Head
from acclimate.kernels.projection import Projection
from acclimate.model.causal import CausalModel
from acclimate.objective.assignment import by_piece, pieces, shares
from acclimate.parallel.shard import release
from acclimate.parallel.world import World
from acclimate.types.batch import moved
from acclimate.types.central import PAD_DOCUMENT, WEIGHTS, Batch, Chunk, Metrics
from acclimate.types.errors import UsageError

if TYPE_CHECKING:
    from acclimate.objective.objective import Objective


@dataclass(frozen=True)
class Sums:
    """Unweighted nats, token counts and token weights by (term, route); they add up over micro-batches."""

    nats: Tensor  # [K, R] float64
    tokens: Tensor  # [K, R] float64
    weights: Tensor  # [K, R] float64, of the terms' weightings
    loss: Tensor  # [] float64, the weighted and divided sum
    balance: Tensor  # [] float64, mean load balancing loss of a mixture of experts
    load: Tensor  # [L, E] float64, tokens by router and expert; [0] of a dense model

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def over_ranks(self, world: World) -> Sums:
        parts = tuple(vars(self).values())
        flat = world.sum(torch.cat([part.flatten() for part in parts]).cpu())
        found = torch.split(flat, [part.numel() for part in parts])
        return Sums(*(part.view(own.shape) for part, own in zip(found, parts, strict=True)))


class Step:
    """What :meth:`Objective.step` gives: first :meth:`observe`, then :meth:`loss` of every micro-batch, then
    :meth:`report`.

    Weights are read when it is made: a dial that moves meanwhile acts from the next step on.
    """

    def __init__(
        self, objective: Objective, batches: Sequence[Batch], means: Mapping[int, Tensor], before: int = 0
    ) -> None:
        self.objective, self.batches = objective, batches
        self._expected = objective.expected(before) if callable(objective.expected) else objective.expected
        self.means = dict(means)
        """Mean nats per token of the step's sequences, by term: [S] each."""
        self.sums: Sums | None = None
        """Of the micro-batches so far, on this rank."""
        self._trained_heads: list[tuple[Tensor, Projection]] = []
        self._assigned = [objective.assigned(batch) for batch in batches]
        self.counts, self._present = self._count()
        """Denominator of each term, over all ranks: [K] float64."""
        weights = torch.tensor([float(routed.weight) for routed in objective.terms], dtype=torch.float64)
        self._pull = weights / self.counts
        self._strengths = _strengths(objective)
        self._routed = self._tokens() if objective.balance else 1.0

    def _count(self) -> tuple[Tensor, Tensor]:
        """The denominators [K], and whether some rank's b-th micro-batch holds term k [B, K]: then all ranks run its
        reference, since FSDP gathers its weights together."""
        objective, world = self.objective, self.objective.world
        units = torch.zeros(len(self.batches), len(objective.terms), dtype=torch.float64)
        for b, assigned in enumerate(self._assigned):
            units[b] = torch.stack([of_term.sum() for of_term in assigned.units])
        if objective.normalise == "all":
            learned, hosts = objective.selects.any(0), [batch.on_host for batch in self.batches]
            everything = sum(float(shares(host, learned, objective.average).sum()) for host in hosts)
            counts = torch.full_like(units[0], everything)
        else:
            counts = units.sum(0)
        if world.size > 1:
            flat = world.sum(torch.cat([counts, units.flatten()]))
            counts, units = flat[: len(counts)], flat[len(counts) :].view_as(units)
        if objective.normalise == "term" and self._expected is not None:
            pairs = zip(self._expected, counts.tolist(), strict=True)
            counts = torch.tensor([own if e is None else e for e, own in pairs], dtype=torch.float64)
        return counts, units > 0

    def _tokens(self) -> float:
        """Those that are no padding, over all micro-batches and ranks."""
        own = sum(float((batch.on_host.document != PAD_DOCUMENT).sum()) for batch in self.batches)
        return float(self.objective.world.sum(torch.tensor([own], dtype=torch.float64)))

    def _references_of(self, present: Tensor) -> set[str]:
        """References of the terms k with ``present[k]``."""
        terms = zip(self.objective.terms, present.tolist(), strict=True)
        return {routed.reference for routed, here in terms if here and routed.reference}

    def observe(self, model: CausalModel) -> None:
        """The first pass, for weightings that need the step's mean losses; without one, nothing happens.

        The mean of a sequence does not depend on the micro-batch or rank that it came to, nor does their median.
        """
        objective = self.objective
        asking = [
            k for k, t in enumerate(objective.terms) if t.weighting is not None and t.weighting.means_of == "step"
        ]
        found: dict[int, list[Tensor]] = {k: [] for k in asking}
        for b, batch in enumerate(self.batches):
            if not self._present[b, asking].any():
                continue
            with model.inference():
                hidden = model(batch).flatten(0, 1)
                head = self._projection(model.head, torch.promote_types(hidden.dtype, objective.logits_dtype))
                for k in asking:
                    found[k].append(self._sequence_means(b, k, hidden, head).cpu())
        for k in asking:
            if every := [means for rank in objective.world.gather(found[k]) for means in rank]:  # none: a step without
                self.means[k] = torch.cat(every)

    @torch.no_grad()
    def _sequence_means(self, b: int, k: int, hidden: Tensor, head: Projection) -> Tensor:
        """[S] mean nats per token of term k of every sequence of the b-th micro-batch that holds some.

        ``hidden`` is [P, D].
        """
        batch, learned = self.batches[b], self._assigned[b].units[k] > 0
        nats = torch.zeros(learned.shape, dtype=torch.float64, device=hidden.device)
        tokens, term = _Tokens(batch), self.objective.terms[k]
        for chosen in torch.split(learned.nonzero().squeeze(1), self._chunk_tokens([k], head)):
            positions = moved(chosen, hidden.device)
            nats[positions] = term.term(tokens.chunk(positions, head.logits(hidden[positions]))).double()
        piece, count = pieces(batch.on_host)
        sizes = by_piece(piece, count, learned.double())
        held = moved((sizes > 0).nonzero().squeeze(1), hidden.device)
        return (by_piece(moved(piece, hidden.device), count, nats) / moved(sizes, hidden.device))[held]

    def loss(self, model: CausalModel, batch: Batch) -> Tensor:
        """A micro-batch's part of the step's loss, a scalar; its sums are added to the step's.

        References run before the student: what they hold in between is free again when the student begins to keep
        its activations for the backward pass.

        Args:
            model: the student.
            batch: one of the step's micro-batches.

        Raises:
            ValueError: it is none of them, so no count holds its tokens.
        """
        b = next((b for b, own in enumerate(self.batches) if own is batch), None)
        if b is None:
            raise ValueError(
                "The micro-batch is none of those that the step was made of, so nothing counts its tokens."
            )
        objective, terms, means = self.objective, self.objective.terms, self.means
        assigned, tokens = self._assigned[b], _Tokens(batch)
        compared = self._references_of(self._present[b])
        states = {
            name: reference.hidden(batch).flatten(0, 1)
            for name, reference in objective.references.items()
            if name in compared
        }
        hidden, head = model(batch), model.head
        routed = model.routing.taken(objective.balance > 0) if model.routing is not None else None
        dtype = torch.promote_types(hidden.dtype, objective.logits_dtype)  # float64 stays float64, for tests
        student = self._projection(head, dtype)
        seen = {name: (states[name], self._projection(objective.references[name].head, dtype)) for name in states}
        factors = moved(self._factors(b).to(dtype), hidden.device)  # [K, P]
        nats, token_weights = torch.zeros_like(factors), torch.zeros_like(factors)  # [K, P]
        means = means | {
            k: self._sequence_means(b, k, hidden.flatten(0, 1), student)
            for k, t in enumerate(terms)
            if t.weighting is not None and t.weighting.means_of == "batch" and assigned.tokens[k].any()
        }

        def loss_of(members: Sequence[int]) -> BlockLoss:
            def loss(positions: Tensor, logits: Tensor, references: Mapping[str, Tensor]) -> Tensor:
                total = logits.new_zeros(())
                for k in members:
                    routed = terms[k]
                    other = references[routed.reference] if routed.reference is not None else None
                    per_token = routed.term(tokens.chunk(positions, logits, other))  # [m]
                    nats[k, positions] = per_token.detach()
                    if routed.weighting is not None:
                        token_weights[k, positions] = routed.weighting(per_token.detach(), means.get(k))
                        per_token = per_token * token_weights[k, positions]
                    total = total + (per_token * factors[k, positions]).sum()
                return total

            return loss

        groups = []
        for members, positions in assigned.groups:
            references = {name: seen[name] for k in members if (name := terms[k].reference) is not None}
            here, size = moved(positions, hidden.device), self._chunk_tokens(members, student)
            groups.append(Group(here, references, loss_of(members), size))
        loss = chunked_loss(hidden.flatten(0, 1), head, student, groups)
        for other in [objective.references[name].model for name in states]:
            if other is not model:  # the backward pass needs no head but the student's
                release(other, root_alone=True)
        balance, load = loss.new_zeros((), dtype=torch.float64), loss.new_zeros(0, dtype=torch.float64)
        if routed is not None:
            load = routed.load
            if routed.balance is not None:
                share = routed.balance * (routed.tokens / self._routed)
                loss, balance = loss + objective.balance * share.to(loss.dtype), share.detach().double()
        by_route, route = torch.zeros(2, *assigned.tokens.shape, dtype=torch.float64, device=hidden.device), batch.route
        for k in range(len(terms)):
            for values, of_token in zip(by_route[:, k], (nats[k], token_weights[k]), strict=True):
                values.index_add_(0, route.flatten(), of_token.double())  # 0 where the term does not look
        counted = moved(assigned.tokens, hidden.device)
        sums = Sums(by_route[0], counted, by_route[1], loss.detach().double(), balance, load)
        self.sums = sums if self.sums is None else self.sums + sums
        return loss

    def _factors(self, b: int) -> Tensor:
        """[K, P] float64 on the host: what a token's nats are multiplied by in term k, all denominators included."""
        batch, units = self.batches[b].on_host, self._assigned[b].units
        if (weights := batch.columns.get(WEIGHTS)) is not None:
            units = units * weights.flatten().double()  # they scale the nats, never the count
        if self._strengths is not None:
            units = units * self._strengths[:, batch.route.flatten()]
        return units * self._pull[:, None]

    def _chunk_tokens(self, members: Sequence[int], head: Projection) -> int:
        """Tokens of these terms whose logits exist at one time."""
        if self.objective.chunk_tokens is not None:
            return self.objective.chunk_tokens
        terms = [self.objective.terms[k] for k in members]
        compared = any(routed.reference is not None for routed in terms)
        copies = max(getattr(routed.term, "logit_copies", KL_COPIES if compared else CE_COPIES) for routed in terms)
        known, key = self.objective.chunk_sizes, (head.weight.device, len(head.weight), compared, copies)
        if key not in known:
            known[key] = chunk_size(*key)
        return known[key]

    def _projection(self, head: Head, dtype: torch.dtype) -> Projection:
        """One projection per weight, which references share with the student; of a trained one, one per step, and of
        one that no other head has, one per use."""
        if not head.kept:
            return Projection(head, dtype)
        known = self._trained_heads if head.weight.requires_grad else self.objective.projections
        for weight, projection in known:
            if weight is head.weight and projection.dtype == dtype:
                return projection
        projection = Projection(head, dtype)
        known.append((head.weight, projection))
        return projection

    def report(self) -> Metrics:
        """The step's loss, mean nats per token as ``loss/<source>/<term>``, and the mean weight of a token whose term
        has a weighting as ``weight/<source>/<term>``, over all ranks.

        A term with no token this step is absent; terms of one name are one mean, over the tokens of both.

        Raises:
            UsageError: no loss was taken yet.
        """
        if self.sums is None:
            raise UsageError("Step.report: no loss was taken yet; call step.loss(student, batch) for each micro-batch.")
        routes, sums = self.objective.routes, self.sums.over_ranks(self.objective.world)
        found: dict[str, tuple[float, float]] = {}  # sum, tokens
        for k, routed in enumerate(self.objective.terms):
            for source in dict.fromkeys(route.source for route in routes):
                rows = [r for r, route in enumerate(routes) if route.source == source]
                if (tokens := sums.tokens[k, rows].sum().item()) > 0:
                    kinds = [("loss", sums.nats)] + [("weight", sums.weights)] * (routed.weighting is not None)
                    for kind, values in kinds:
                        key = f"{kind}/{source}/{routed.name}"
                        before = found.get(key, (0.0, 0.0))
                        found[key] = before[0] + values[k, rows].sum().item(), before[1] + tokens
        measured = {"loss": sums.loss.item()} | {key: total / tokens for key, (total, tokens) in found.items()}
        return measured | _experts(sums, self.objective.balance > 0)


def _strengths(objective: Objective) -> Tensor | None:
    """[K, R] float64: how often a token of the route counts in the term; None where no dial moves that."""
    if all(routed.strength is None for routed in objective.terms):
        return None
    found = torch.ones(len(objective.terms), len(objective.routes), dtype=torch.float64)
    for k, routed in enumerate(objective.terms):
        if routed.strength is not None:
            found[k, [r for r, route in enumerate(objective.routes) if route.name in routed.anchors]] = float(
                routed.strength
            )
    return found


def _experts(sums: Sums, balanced: bool) -> Metrics:
    """``experts/load_max``: the busiest expert of any router over the mean of its router; ``experts/unused``: part of
    the experts that no token of the step came to; ``experts/balance``: the load balancing loss, which
    is k where k experts a token are chosen evenly."""
    load = sums.load[sums.load.sum(-1) > 0] if sums.load.numel() else sums.load
    if not load.numel():
        return {}
    found = {
        "experts/load_max": (load.amax(-1) / load.mean(-1)).max().item(),
        "experts/unused": (load == 0).double().mean().item(),
    }
    return found | ({"experts/balance": sums.balance.item()} if balanced else {})


class _Tokens:
    """A micro-batch's positions in one line, [P, ...], of which chunks are made."""

    def __init__(self, batch: Batch) -> None:
        self.labels, self.document = batch.labels.flatten(), batch.document.flatten()
        self.columns = {name: column.flatten(0, 1) for name, column in batch.columns.items()}

    def chunk(self, positions: Tensor, logits: Tensor, reference_logits: Tensor | None = None) -> Chunk:
        columns = {name: column[positions] for name, column in self.columns.items()}
        return Chunk(logits, self.labels[positions], self.document[positions], reference_logits, columns)
