"""The objective as a plain loop or a trainer of one's own uses it: terms and references, without a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.objective import objective as described
from acclimate.objective.step import Step
from acclimate.parallel.world import SOLO, World
from acclimate.types.central import IGNORE, METHOD_ROUTES, Batch, Route, RoutedTerm
from acclimate.types.dials import Dial, dials_of
from acclimate.types.errors import UsageError, listed, nearest

MakesReference = Callable[[CausalModel], Reference]


class Objective:
    """Which loss terms see which tokens, and what they are compared with.

    ``loss = sum_k w_k / n_k * sum_i nats_k(i)`` over the tokens i that are routed to term k, where ``n_k`` counts them
    over all micro-batches of the optimizer step. No mean of means is taken, so a step's gradient does not depend on how
    it is cut into micro-batches.

    Args:
        terms: what ``cross_entropy`` and ``kl`` give.
        references: by the name that ``kl(to=...)`` uses; a function of the student, such as ``frozen_copy`` itself,
            is called by ``bind``.
        routes: the table that ``Batch.route`` points into, of batches that bring none. By default domain, general, and
            what else the terms name.
        normalise: ``term`` divides each term by its own count, ``all`` every term by the count of all learned tokens.
        average: ``token`` weighs every token alike, ``sequence`` every document's piece of a row.
        logits_dtype: of logits; a KL near the base needs float32.
        chunk_tokens: tokens whose logits exist at one time, in memory 4 bytes x tokens x vocabulary; None takes 256 on
            a CPU, and on a GPU up to 2048 by vocabulary, term and free memory.

    Raises:
        UsageError: no term, a reference that is missing or that no term asks for, or two unlike terms of one name.

    >>> from acclimate.front.terms import cross_entropy
    >>> Objective(cross_entropy(on=("domain", "general"))).routes
    (Route(source='domain', name='domain'), Route(source='general', name='general'))
    """

    def __init__(
        self,
        *terms: RoutedTerm,
        references: Mapping[str, Reference | MakesReference] | None = None,
        routes: Sequence[str | Route] | None = None,
        normalise: Literal["term", "all"] = "term",
        average: Literal["token", "sequence"] = "token",
        logits_dtype: torch.dtype = torch.float32,
        chunk_tokens: int | None = None,
    ) -> None:
        self.terms = terms
        self.references = dict(references or {})
        named = routes or list(dict.fromkeys([*METHOD_ROUTES, *(name for term in terms for name in term.routes)]))
        self.routes = tuple(Route(route, route) if isinstance(route, str) else route for route in named)
        self.normalise, self.average = normalise, average
        self.logits_dtype, self.chunk_tokens = logits_dtype, chunk_tokens
        self.world = SOLO
        self._known: dict[tuple[Route, ...], described.Objective] = {}
        self._check()

    @property
    def dials(self) -> dict[str, Dial]:
        """By name, the numbers of its terms that may change while training."""
        return dials_of(self.terms)

    def bind(self, student: CausalModel) -> Objective:
        """With every reference that was a function made of the student as it is now: before the first update."""
        made = {
            name: given(student) if _makes(given) else given  # type: ignore[operator]
            for name, given in self.references.items()
        }
        return self._with(references=made)

    def strengthened(self, strength: Dial) -> Objective:
        """With what holds the model multiplied by a dial: KL terms, and cross-entropy on ``general`` beside others.

        Raises:
            UsageError: no term holds the model.
        """
        if not any(term.anchors for term in self.terms):
            raise UsageError(
                "Objective: no term holds the model, so a strength has no effect; add kl(to=..., on=...), or "
                'cross_entropy(on=("domain", "general")).'
            )
        return self._with(*(replace(term, strength=strength) if term.anchors else term for term in self.terms))

    def over(self, world: World) -> Objective:
        """With counts summed over the processes of ``world``: for trainers that share a step among several."""
        found = self._with()
        found.world = world
        return found

    def step(self, batches: Sequence[Batch]) -> Step:
        """One optimizer step: its counts, which are the only denominators.

        Then ``step.loss(student, batch)`` of every micro-batch is a scalar to call ``backward`` on, and
        ``step.report()`` gives ``loss`` and ``loss/<source>/<term>`` in nats per token.

        Args:
            batches: all micro-batches of the step, on the student's device.

        Raises:
            UsageError: no micro-batch, several route tables, a token whose route no table has, a term or a source that
                would have no effect, or a reference that is still a function.
        """
        batches = list(batches)
        if not batches:
            raise UsageError("Objective.step: there is no micro-batch; give all of an optimizer step.")
        tables = {batch.routes for batch in batches}
        if len(tables) > 1:
            raise UsageError(
                "Objective.step: the micro-batches have different route tables, so one route number means several; "
                "make all of them with one acclimate.mix."
            )
        table = tables.pop() or self.routes
        for batch in batches:
            self._check_routes(batch, table)
        return self._over(table).step(batches)

    def _over(self, table: tuple[Route, ...]) -> described.Objective:
        """The same terms over one table of routes."""
        if table not in self._known:
            self._check_table(table)
            references: dict[str, Reference] = {}
            for name, given in self.references.items():
                if _makes(given):
                    raise UsageError(
                        f"Objective: references['{name}'] is a function that no student was given to; call "
                        "objective = objective.bind(student) before the first update, or give what it returns."
                    )
                references[name] = given  # type: ignore[assignment]
            self._known[table] = described.Objective(
                self.terms,
                table,
                references,
                normalise=self.normalise,
                average=self.average,
                logits_dtype=self.logits_dtype,
                chunk_tokens=self.chunk_tokens,
                world=self.world,
            )
        return self._known[table]

    def _with(self, *terms: RoutedTerm, **changed: object) -> Objective:
        kept = {
            "references": self.references, "routes": self.routes, "normalise": self.normalise, "average": self.average,
            "logits_dtype": self.logits_dtype, "chunk_tokens": self.chunk_tokens,
        }  # fmt: skip
        found = Objective(*(terms or self.terms), **(kept | changed))  # type: ignore[arg-type]
        found.world = self.world
        return found

    def _check(self) -> None:
        for name, accepted in (("normalise", ("term", "all")), ("average", ("token", "sequence"))):
            if (value := getattr(self, name)) not in accepted:
                raise UsageError(f"Objective: {name} is {value!r}; accepted: {listed(accepted)}.")
        if not self.terms or not all(isinstance(term, RoutedTerm) for term in self.terms):
            raise UsageError("Objective: give the terms it is made of, such as acclimate.cross_entropy(on='domain').")
        wanted = [term.reference for term in self.terms if term.reference is not None]
        for name in wanted:
            if name not in self.references:
                known = f"those given are {listed(self.references)}" if self.references else "none is given"
                raise UsageError(
                    f"Objective: a term compares with the reference '{name}', and {known}; set "
                    f"references={{'{name}': acclimate.frozen_copy(student)}}.{nearest(name, self.references)}"
                )
        if unused := [name for name in self.references if name not in wanted]:
            raise UsageError(f"Objective: no term compares with the reference '{unused[0]}'; leave it out.")
        dials_of(self.terms)  # refuses two of one name
        for k, term in enumerate(self.terms):
            for other in self.terms[:k]:
                if other.name == term.name and (other.term, other.reference) != (term.term, term.reference):
                    raise UsageError(
                        f"Objective: two terms that differ are both called '{term.name}', so their metrics would be "
                        "mixed; give one of them another name with dataclasses.replace(term, name=...)."
                    )

    def _check_table(self, table: tuple[Route, ...]) -> None:
        """Refuses a term or a source that would have no effect."""
        names = list(dict.fromkeys(route.name for route in table))
        for term in self.terms:
            for name in term.routes:
                if name not in names:
                    raise UsageError(
                        f"Objective: {term.name} learns from the route '{name}', which no text has; routes: "
                        f"{', '.join(names)}.{nearest(name, names)}"
                    )
        if table == self.routes:
            return
        learned = {name for term in self.terms for name in term.routes}
        for source in dict.fromkeys(route.source for route in table):
            own = [route.name for route in table if route.source == source]
            if not learned & set(own):
                raise UsageError(
                    f"Objective: no term learns from '{source}', whose route is {listed(own)}; give its text a route "
                    f"that a term names ({listed(sorted(learned))}), or leave it out."
                )

    def _check_routes(self, batch: Batch, table: tuple[Route, ...]) -> None:
        host = batch.on_host
        used = host.route[host.labels != IGNORE]
        if used.numel() and not 0 <= int(used.min()) <= int(used.max()) < len(table):
            worst = int(used.max()) if int(used.max()) >= len(table) else int(used.min())
            raise UsageError(
                f"Objective.step: a label has the route {worst}; the table has 0 to {len(table) - 1}: "
                f"{', '.join(route.name for route in table)}."
            )


def _makes(given: object) -> bool:
    """Whether it is a function that makes a reference."""
    return callable(given) and not hasattr(given, "hidden")
