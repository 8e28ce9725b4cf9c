"""Text sets: bits per byte of whole documents, and drift on each of their tokens."""

from __future__ import annotations

from collections.abc import Sequence

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.rendering import special_tokens
from acclimate.data.deal.pack import heldout_batches
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import route_table
from acclimate.data.prepare.tokens import encoded_now
from acclimate.data.read.documents import Document, Part
from acclimate.measurement.measure import Scores, measure
from acclimate.measurement.panel.items import Item
from acclimate.model.causal import CausalModel
from acclimate.model.checks.reading import check_texts
from acclimate.model.reference import Reference

ROWS = 4


def measure_text(
    model: CausalModel, base: Reference, name: str, items: Sequence[Item], sequence_length: int, overlap: int
) -> tuple[Scores, Scores]:
    """Scores of model and base, one row a document in the order of the items; each text ends with an eos token.

    Args:
        sequence_length: a longer document is measured in pieces of so many tokens.
        overlap: tokens before its first label that a later piece reads again, at least one.

    Raises:
        ModelError: a text that the base's tokenizer reads as other tokens.
    """
    check_texts([(item.where, item.context) for item in items], model.tokenizer, base.tokenizer)
    tokenizer = base.tokenizer  # its end of text, should tuning have changed that
    section = SourceSection(path=name)
    table = route_table({name: section})
    documents = [Document(name, item.where, (Part("text", item.context),), templated=False) for item in items]
    encoder = Encoder(tokenizer, name, section, table)
    corpus = encoded_now(documents, encoder, [item.where for item in items])
    batches = heldout_batches(corpus, 0, table, sequence_length, ROWS, overlap=overlap)
    tuned, before = measure(model, base, batches, list(special_tokens(tokenizer)))
    assert before is not None
    return tuned, before
