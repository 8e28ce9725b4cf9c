"""Notes about sources, grouped: one line a kind, however many sources it is about."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from acclimate.build import Mixture
from acclimate.build.mixture import epochs
from acclimate.config.load import RunConfig
from acclimate.config.source_schema import AUTO
from acclimate.data.chat.pieces import cuts
from acclimate.data.corpus import Corpora, Corpus
from acclimate.paired.ratio import MINIMUM_DOCUMENTS, MINIMUM_GROUPS

MAX_EPOCHS = 4
"""Repeating data up to 4 times is nearly as good as fresh data (Muennighoff et al., 2023, arXiv 2305.16264)."""
ROUGHLY = 0.1
"""A held-out count that is met within so much is met."""


@dataclass(frozen=True)
class Said:
    """What a note says of one source, alone and among others."""

    source: str
    alone: str
    among: str = ""


def grouped(found: Iterable[Said], head: str, tail: str) -> Iterator[str]:
    """One line.

    >>> [*grouped([Said("law", "law is short.", "3 lines"), Said("web", "web is short.", "4 lines")], "short:", ".")]
    ["short: 'law' (3 lines), 'web' (4 lines)."]
    """
    said = list(found)
    if len(said) == 1:
        yield said[0].alone
    elif said:
        named = (f"'{one.source}' ({one.among})" if one.among else f"'{one.source}'" for one in said)
        yield f"{head} {', '.join(named)}{tail}"


def alike(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Sentences about one source each: of those that differ in names and numbers alone, the first, and whose else.

    >>> [*alike([("a", "source 'a': 3 rows are odd."), ("b", "source 'b': 4 rows are odd.")])]
    ["source 'a': 3 rows are odd. It is the same with 'b'."]
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for source, note in notes:
        kinds.setdefault(_kind(source, note), []).append((source, note))
    for (source, note), *others in kinds.values():
        rest = [f"'{name}'" for name in dict.fromkeys(name for name, _ in others) if name != source]
        yield note + (f" It is the same with {', '.join(rest)}." if rest else "")


def _kind(source: str, note: str) -> str:
    """What is left of a note without the source's name, numbers and places of rows."""
    named = re.sub(rf"(?<![\w.-]){re.escape(source)}(?![\w-])", "SOURCE", note)
    return re.sub(r"\d[\d,.]*", "N", re.sub(r"first:? [^);,]+", "FIRST", named))


def source_notes(config: RunConfig, corpora: Corpora, mixture: Mixture) -> list[str]:
    """What is allowed but probably not meant of sources, a line a kind."""
    used = {name: corpus for name, corpus in corpora.sources.items() if name in mixture.shares}
    every = corpora.sources
    return [
        *_repeated(config, mixture),
        *_groups(every),
        *_unmet(every),
        *_ungrouped_streams(every),
        *_overlap(config, corpora),
        *_cut(config, used),
        *_control(every),
        *_nothing_held_out(every),
        *_few_held_out(every),
        *_few_measured(config, every),
        *_streamed(every),
        *_masked(every),
    ]


Sources = Mapping[str, Corpus]


def _repeated(config: RunConfig, mixture: Mixture) -> Iterator[str]:
    passes = {name: epochs(config, mixture, name) or 0.0 for name in mixture.shares}
    little = f"beyond {MAX_EPOCHS} epochs repeated text teaches little and is memorised."
    yield from grouped(
        (
            Said(
                name,
                f"source '{name}' is read {times:.1f} times; {little} Give it more documents, a lower share, or a "
                "smaller budget.",
                f"{times:.1f} times",
            )
            for name, times in passes.items()
            if times > MAX_EPOCHS
        ),
        "sources that are read again and again:",
        f"; {little} Give them more documents, lower shares, or a smaller budget.",
    )


def _groups(sources: Sources) -> Iterator[str]:
    """What is held out together."""
    sizes = {name: (len(corpus.heldout), len(set(corpus.groups))) for name, corpus in sources.items()}
    grouped_ones = {name: size for name, size in sizes.items() if size[1] < size[0]}
    few = [name for name, (_, groups) in grouped_ones.items() if groups < MINIMUM_GROUPS]
    gate = f" `acclimate gate` lets nothing pass on fewer than {MINIMUM_GROUPS}." if few else ""
    wide = "which are held out whole and drawn together: intervals are as wide as so many groups tell."

    def why(name: str) -> str:
        group = sources[name].section.group
        return "near duplicates, or files of several documents" if group == "auto" else group

    yield from grouped(
        (
            Said(
                name,
                f"source '{name}': its {n:,} held-out documents belong to {groups:,} groups (sources.{name}.group: "
                f"{why(name)}), {wide}{gate}",
                f"{n:,} documents in {groups:,}",
            )
            for name, (n, groups) in grouped_ones.items()
        ),
        "held-out documents belong to groups (sources.NAME.group):",
        f", {wide}{gate}",
    )


def _unmet(sources: Sources) -> Iterator[str]:
    """Counts that whole groups cannot be."""
    found = []
    for name, corpus in sources.items():
        asked, held = corpus.section.heldout, len(corpus.heldout) + corpus.left_out
        if asked == AUTO or asked < 1 or corpus.stream is not None or abs(held - asked) <= ROUGHLY * asked:
            continue
        alone = (
            f"sources.{name}.heldout: {asked:g} documents cannot be met, since groups are held out whole, and are "
            f"{held:,}; give another count, or sources.{name}.group: none."
        )
        found.append(Said(name, alone, f"{asked:g} asked, {held:,} held out"))
    head = "sources.NAME.heldout cannot be met, since groups are held out whole:"
    yield from grouped(found, head, "; give other counts, or group: none.")


def _ungrouped_streams(sources: Sources) -> Iterator[str]:
    yield from grouped(
        (
            Said(
                name,
                f"source '{name}' is streamed, so near duplicates of its held-out documents are not looked for; name a "
                f"field that groups them at sources.{name}.group.",
            )
            for name, corpus in sources.items()
            if corpus.stream is not None and corpus.section.group == "auto" and len(corpus.heldout)
        ),
        "near duplicates of held-out documents are not looked for in streamed sources:",
        "; name a field that groups them at sources.NAME.group.",
    )


def _overlap(config: RunConfig, corpora: Corpora) -> Iterator[str]:
    then = (
        "they are left out of the measured set"
        if config.data.overlap == "drop"
        else "the report says what the others gained, and data.overlap: drop leaves these out"
    )
    words = f"a {config.evaluation.overlap_ngram}-word sequence with training text"
    hit = [row for row in corpora.overlap if row.documents_hit]
    if len(hit) == 1:
        (row,) = hit
        yield (
            f"{row.documents_hit} of {row.documents} held-out documents of '{row.heldout_source}' share {words} of "
            f"'{row.train_source}' ({row.ngrams_hit} of {row.ngrams} sequences); {then}."
        )
    elif hit:
        most: dict[str, tuple[int, int]] = {}  # by held-out source, with the training source that it shares most with
        for row in hit:
            known = max(most.get(row.heldout_source, (0, 0)), (row.documents_hit or 0, row.documents))
            most[row.heldout_source] = known
        shown = ", ".join(f"{count} of {of} of '{name}'" for name, (count, of) in most.items())
        yield f"held-out documents share {words}: {shown}; {then}. data.json has each pair of sources."


def _cut(config: RunConfig, sources: Sources) -> Iterator[str]:
    """What no row holds whole."""
    length, found = config.data.sequence_length, []
    for name, corpus in sources.items():
        part = cuts(corpus.train, length)
        if not part.documents:
            continue
        among = f"the first {len(corpus.train):,}" if corpus.stream else f"{len(corpus.train):,}"
        note = (
            f"source '{name}': {part.documents:,} of {among} training documents are longer than a row "
            f"(data.sequence_length: {length}) and cut; {part.labels:.1%} of the labels are learned without some of "
            "the text before them."
        )
        if part.chats:
            note += (
                f" {part.chats:,} of them are chats or pairs, whose pieces all begin with the prompt; "
                + (f"in {part.prompts:,} it is cut from its left" if part.prompts else "it is whole in all")
                + f". sources.{name}.too_long: drop leaves them out."
            )
        found.append(Said(name, note, f"{part.documents:,} of {among}, {part.labels:.1%} of the labels"))
    yield from grouped(
        found,
        f"training documents are longer than a row (data.sequence_length: {length}) and cut:",
        "; these labels are learned without some of the text before them. Of chats and pairs every piece begins with "
        "the prompt, and too_long: drop leaves them out.",
    )


def _control(sources: Sources) -> Iterator[str]:
    """Text that spells special tokens."""
    found = []
    for name, corpus in sources.items():
        both = (corpus.train, corpus.heldout)
        if not (spelt := sum(int((part.control > 0).sum()) for part in both)):
            continue
        size = sum(int(part.control.sum()) for part in both)
        where = os.path.basename(
            next(part.where[int(np.argmax(part.control > 0))] for part in both if part.control.any())
        )
        many = "1 document spells" if spelt == 1 else f"{spelt:,} documents spell"
        alone = (
            f"source '{name}': {many} special tokens of the tokenizer (first: {where}). They are read as these "
            f"tokens, so in a chat they may end a turn, and their {size:,} bytes are left out of bits per byte. {RIGHT}"
        )
        found.append(Said(name, alone, f"{spelt:,}, first: {where}"))
    yield from grouped(
        found,
        "documents spell special tokens of the tokenizer:",
        ". They are read as these tokens, so in a chat they may end a turn, and their bytes are left out of bits per "
        f"byte. {RIGHT}",
    )


RIGHT = (
    "That is right for text that is rendered already; otherwise remove them, or set split_special_tokens: true in the "
    "model's tokenizer_config.json."
)


def _nothing_held_out(sources: Sources) -> Iterator[str]:
    none = {name: corpus for name, corpus in sources.items() if len(corpus.heldout) == 0}
    small = {name: corpus for name, corpus in none.items() if corpus.section.heldout == AUTO}
    yield from grouped(
        (
            Said(name, f"source '{name}' holds no document out, so nothing is measured on it.")
            for name in none
            if name not in small
        ),
        "nothing is measured on sources that hold no document out:",
        ".",
    )
    yield from grouped(
        (
            Said(
                name,
                f"source '{name}' has {len(corpus.train)} documents, too few to judge it by itself, so all are trained "
                f"on (heldout: auto) and nothing is measured on it; sources.{name}.heldout holds some out.",
                f"{len(corpus.train)} documents",
            )
            for name, corpus in small.items()
        ),
        "sources too small to be judged by themselves are trained on whole (heldout: auto), and nothing is measured on "
        "them:",
        "; sources.NAME.heldout holds some out.",
    )


def _few_held_out(sources: Sources) -> Iterator[str]:
    little = f"an interval over fewer than {MINIMUM_DOCUMENTS} says little, and `acclimate gate` refuses it"
    yield from grouped(
        (
            Said(
                name,
                f"source '{name}' holds out {n} document{'s' * (n > 1)}; {little}: {_more(name, corpus)}",
                f"{n} document{'s' * (n > 1)}",
            )
            for name, corpus in sources.items()
            if 0 < (n := len(corpus.heldout)) < MINIMUM_DOCUMENTS
        ),
        "few documents are held out of",
        f"; {little}: raise sources.NAME.heldout, or give more documents.",
    )


def _few_measured(config: RunConfig, sources: Sources) -> Iterator[str]:
    """Of what is held out, where that would be enough."""
    most = config.evaluation.documents
    if most is not None and most < MINIMUM_DOCUMENTS <= max((len(c.heldout) for c in sources.values()), default=0):
        yield (
            f"evaluation.documents: {most} measures fewer documents of each source than are held out; an interval over "
            f"fewer than {MINIMUM_DOCUMENTS} says little, and `acclimate gate` refuses it: raise it, or leave it out."
        )


def _more(name: str, corpus: Corpus) -> str:
    if corpus.section.heldout != AUTO:
        return f"raise sources.{name}.heldout."
    return f"give it {2 * MINIMUM_DOCUMENTS} documents or more, or cut long texts into several files."


def _streamed(sources: Sources) -> Iterator[str]:
    def alone(name: str, corpus: Corpus) -> Said:
        read = f"{corpus.documents_read:,} documents"
        checked = f"its first {read} were read and checked, the rest is while training."
        return Said(name, f"source '{name}' is streamed: {checked}", read)

    yield from grouped(
        (alone(name, corpus) for name, corpus in sources.items() if corpus.stream is not None),
        "of streamed sources the first documents were read and checked, the rest is while training:",
        ".",
    )


def _masked(sources: Sources) -> Iterator[str]:
    parts = {name: corpus.mask.part for name, corpus in sources.items() if corpus.mask is not None}
    yield from grouped(
        (
            Said(name, f"source '{name}': the method masks {part:.1%} of its labels.", f"{part:.1%}")
            for name, part in parts.items()
        ),
        "the method masks labels of",
        ".",
    )
