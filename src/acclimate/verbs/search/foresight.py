"""What a search will try and cost, known before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from acclimate.build.plan import anchored
from acclimate.config.chosen.search import CONTROL, SearchSection
from acclimate.config.load import RunConfig
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer, resolve_device
from acclimate.model.packing.sketch import outlook
from acclimate.verbs.replay import with_placeholders
from acclimate.verbs.search.candidate import Candidate, candidates, plain, required, together
from acclimate.verbs.search.forwards import DEALT, Forwards
from acclimate.verbs.search.probe import probe_config
from acclimate.verbs.search.rungs import Ladder, ladder

SPARE = 0.02
"""Of the cost, kept back where not every row was dealt to count it."""


@dataclass(frozen=True)
class Foresight:
    """Of `method: auto`: the run as it is configured, the probes, and the cost of both."""

    written: RunConfig
    """The first method at the usual learning rate, with the shares and weights of the configuration."""
    steps: int
    """Of the final run."""
    run_cost: float
    """Forwards of one run as it is configured."""
    limit: float
    """Forwards that all probes together may cost."""
    ladder: Ladder

    @property
    def says(self) -> list[str]:
        """What is done first, in sentences."""
        rungs = ", then ".join(f"{rung.probes} of {rung.steps} steps" for rung in self.ladder.rungs)
        lines = [
            f"method: auto first trains probes, {rungs}: at most {self.ladder.cost:,.0f} forwards (tokens through the "
            f"network, a backward counting as two), {self.ladder.cost / self.run_cost:.2f} of one run as it is "
            f"configured ({self.run_cost:,.0f}).",
        ]
        if left := self.ladder.untried:
            lines.append(f"Not tried, for cost (search.cost): {together(left)}.")
        return lines


def foresee(
    config: RunConfig, ranks: int = 1, rows: Callable[[RunConfig], RunConfig] = lambda one: with_placeholders(one)[0]
) -> Foresight:
    """What the search of a configuration with `method: auto` will try and cost.

    Args:
        ranks: processes that train.
        rows: puts files in place of what the base writes; by default placeholders, where they are not written yet.

    Raises:
        ConfigError: nothing can be chosen, or not for that cost.
        DataError, ModelError: as a run.
    """
    config = anchored(config)
    section = config.search or SearchSection()
    found = candidates(config)
    first = required(config, found)
    for one in found:
        plain(config, one)  # every setting is one that trains
    written = plain(config, next((one for one in first if one.label != CONTROL), first[0]))
    corpora = load_corpora(rows(written), load_tokenizer(config.model))
    device = torch.device("cpu") if config.model.device == "cpu" else resolve_device(config.model)
    foreseen = outlook(config.model, device)
    alone = foreseen is not None and foreseen.alone is not None
    run = Forwards(written, corpora, ranks, alone)
    run_cost, limit = run.of(run.steps), section.cost * run.of(run.steps)
    longest = int(section.length * run.tokens / config.budget.batch_tokens + 1e-9)
    known: dict[tuple[object, ...], Forwards] = {}

    def cost(one: Candidate, steps: int) -> float:
        if one.kind not in known:
            known[one.kind] = Forwards(probe_config(config, one, "a", longest, run.steps), corpora, ranks, alone)
        return known[one.kind].of(steps)

    kept = (1 - SPARE) * limit if max(run.steps, longest) > DEALT else limit
    return Foresight(written, run.steps, run_cost, limit, ladder(found, len(first), longest, kept, cost))
