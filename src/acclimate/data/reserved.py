"""How many documents ``heldout: auto`` holds out: enough to judge by, and no more than is needed for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from acclimate.config.schema import DataSection
from acclimate.config.source_schema import AUTO, SourceSection
from acclimate.data.prepare.split import Counts, given_counts

PART = 0.05
"""Of all documents, where that is enough."""
LEAST = {"domain": 24, "general": 72, "chat": 72}
"""An interval needs 20 documents, and a divergence passes a gate on 60; some are dropped or set aside."""
JUDGED = 20
"""Documents below which an interval says little."""
MOST = 400
"""More make intervals hardly narrower."""


@dataclass(frozen=True)
class Stock:
    """What is known of a prepared source before it is split."""

    section: SourceSection
    role: str
    documents: int


def reserved(stocks: Mapping[str, Stock], data: DataSection, validation: int) -> dict[str, Counts]:
    """Documents to hold out of each source, for a report and, with ``split: validation``, as many again.

    ``auto`` holds out 5 %, at least :data:`LEAST` and at most half. Of a source with fewer than twice
    :data:`JUDGED` it holds out a third, or none where another one of its role can be judged by itself.

    Args:
        validation: documents of each source that no report uses (``evaluation.validation_documents``).

    >>> law, faq = (Stock(SourceSection(path="a"), "domain", n) for n in (60, 20))
    >>> reserved({"law": law, "faq": faq}, DataSection(), 0)
    {'law': (24,), 'faq': (0,)}
    >>> reserved({"faq": faq}, DataSection(), 0)
    {'faq': (6,)}
    """
    chosen = {
        name: _enough(stock, validation)
        if stock.section.heldout == AUTO
        else given_counts(name, stock.section.heldout, stock.documents)
        for name, stock in stocks.items()
    }
    judged = {stocks[name].role for name, count in chosen.items() if count - validation >= JUDGED}
    counts: dict[str, Counts] = {}
    for name, stock in stocks.items():
        auto, count = stock.section.heldout == AUTO, chosen[name]
        if auto and count - validation < JUDGED and stock.role in judged:
            count = 0
        again = min(count, (stock.documents - count) // 2) if auto else count
        counts[name] = (count,) if data.split == "test" else (count, again)
    return counts


def _enough(stock: Stock, validation: int) -> int:
    n = stock.documents
    wanted = min(max(round(PART * n), LEAST[stock.role]), MOST) + validation
    half = n // 2
    return min(wanted, half) if half >= JUDGED + validation else n // 3
