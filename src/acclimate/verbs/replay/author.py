"""Batches of rows as a model writes them: beginning in, rows and reasons out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from acclimate.data.chat.rendering import special_tokens, turn_end_ids
from acclimate.measurement.sample import Sampler, Written
from acclimate.verbs.replay.asking import Form
from acclimate.verbs.replay.beginnings import OWN_WORDS, Batch, Beginning, Beginnings
from acclimate.verbs.replay.degenerate import LONG, NO_END, REFUSED, why_degenerate


@dataclass(frozen=True)
class Row:
    """One row, or why there is none."""

    beginning: Beginning
    tokens: int = 0
    """That the model wrote of what is learned."""
    ended: bool = False
    record: dict[str, Any] | None = None
    form: Form = "text"
    said: str = ""
    dropped: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        begun = self.beginning
        known = {"family": begun.family, "language": begun.language, "thinking": begun.thinking}
        about = {"way": begun.way, "form": self.form, "tokens": self.tokens, "ended": self.ended}
        return about | {key: value for key, value in known.items() if value is not None}


class Author:
    """A model that writes rows from beginnings."""

    def __init__(self, sampler: Sampler, beginnings: Beginnings) -> None:
        self.sampler, self.beginnings = sampler, beginnings
        self.tokenizer = sampler.model.tokenizer
        self.special = frozenset(special_tokens(self.tokenizer))
        self.ends = tuple(
            dict.fromkeys([*turn_end_ids(self.tokenizer), *_own_ends(sampler.model.network, self.tokenizer)])
        )
        self.drawn = 0
        """Tokens written so far, kept or not."""

    def rows(self, batch: Batch) -> list[Row]:
        """The rows of one batch, in the order of its beginnings."""
        seed = self.beginnings.settings.seed
        if batch.way != "template":
            return self._written(batch.beginnings, batch.limit, _seed(seed, batch.number, "answers"))
        asked = self._questions(batch.beginnings, _seed(seed, batch.number, "questions"))
        begun = [row.beginning for row in asked if row.dropped is None]
        answers = iter(self._written(begun, batch.limit, _seed(seed, batch.number, "answers")))
        return [row if row.dropped is not None else next(answers) for row in asked]

    def _questions(self, blanks: Sequence[Beginning], seed: int) -> list[Row]:
        """What the model itself would be asked, each as the beginning of an answer."""
        asking = self.beginnings.asking
        assert asking is not None
        ends = {blank.thinking: (asking.blank(blank.thinking) or ("", -1))[1] for blank in blanks}
        stops = list(dict.fromkeys([*ends.values(), *self.ends]))
        written = self._draw(blanks, OWN_WORDS, stops, seed)
        return [self._question(blank, one, ends[blank.thinking]) for blank, one in zip(blanks, written, strict=True)]

    def _question(self, blank: Beginning, written: Written, end: int) -> Row:
        if not written.ended or written.ids[-1] != end:
            return Row(blank, dropped=NO_END)
        said = self._said(blank, written.ids[:-1])
        if (why := why_degenerate(written.ids[:-1], said, self.special)) is not None:
            return Row(blank, dropped=f"the user's turn: {why}")
        begun = self.beginnings.answering(blank, str(said))
        return Row(blank, dropped=REFUSED) if begun is None else Row(begun)

    def _written(self, beginnings: Sequence[Beginning], limit: int, seed: int) -> list[Row]:
        room = self.sampler.model.positions - limit
        why = [REFUSED if not begun.ids else LONG if len(begun.ids) > room else None for begun in beginnings]
        fits = [begun for begun, reason in zip(beginnings, why, strict=True) if reason is None]
        written = iter(self._draw(fits, limit, self.ends, seed))
        return [
            Row(begun, dropped=reason) if reason is not None else self._row(begun, next(written))
            for begun, reason in zip(beginnings, why, strict=True)
        ]

    def _draw(self, beginnings: Sequence[Beginning], limit: int, ends: Sequence[int], seed: int) -> list[Written]:
        if not beginnings:
            return []
        written = self.sampler.write([begun.ids for begun in beginnings], limit, ends, seed)
        self.drawn += sum(len(one.ids) for one in written)
        return written

    def _row(self, begun: Beginning, written: Written) -> Row:
        ids = written.ids[:-1] if written.ended else written.ids
        said = self._said(begun, ids)
        if said is not None and not written.ended:
            said = said.rstrip("\N{REPLACEMENT CHARACTER}")  # half of a character
        row = Row(begun, len(written.ids), written.ended, said=said or "")
        if (why := why_degenerate(ids, said, self.special)) is not None:
            return replace(row, dropped=why)
        end = str(self.tokenizer.convert_ids_to_tokens(written.ids[-1])) if written.ended else ""
        if begun.messages is not None:
            assert self.beginnings.asking is not None
            record, form = self.beginnings.asking.record(begun.messages, begun.text, row.said, end)
            return replace(row, record=record, form=form)
        return replace(row, record=self._text(begun, row.said, end))

    def _text(self, begun: Beginning, said: str, end: str) -> dict[str, Any]:
        """A row that is no chat; eos is put behind it when it is read, unless the model did not write one."""
        own = end == self.tokenizer.eos_token
        said += "" if own else end
        parts = {"prompt": begun.text, "completion": said} if begun.way == "prefixes" else {"text": begun.text + said}
        return parts if own else parts | {"ended": False}

    def _said(self, begun: Beginning, ids: Sequence[int]) -> str | None:
        """Tokens behind a beginning as text; None where they have none of their own."""
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        before = str(self.tokenizer.decode(list(begun.ids), **options))
        whole = str(self.tokenizer.decode([*begun.ids, *ids], **options))
        return whole[len(before) :] if whole.startswith(before) else None


def _own_ends(network: Any, tokenizer: Any) -> list[int]:
    """Tokens at which the model itself stops, whatever a chat template says."""
    eos = network.generation_config.eos_token_id
    return [t for t in (*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id) if t is not None]


def _seed(seed: int, number: int, what: str) -> int:
    """Of one batch: the same whatever was written before."""
    digest = hashlib.sha256(f"{seed}:{number}:{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
