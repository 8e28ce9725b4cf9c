"""Where it hurts, one by one: held-out documents that got worse, and panel items whose answer changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.picture import Numbers, plain
from acclimate.reports.sections.documents import Document, worst
from acclimate.reports.words import number
from acclimate.reports.words.origin import without_home
from acclimate.runs.panel import Flip, PanelFolder

DOCUMENTS = 5  # of each run
ITEMS = 4  # of each run, lost and won
ANSWER = 200  # characters


@dataclass(frozen=True)
class WorstDocuments:
    """Run label -> its documents, and their numbers. Of several seeds the first speaks."""

    rows: Mapping[str, Sequence[Document]]
    numbers: Numbers


@dataclass(frozen=True)
class Flips:
    """Items that flipped under one run: how many on which set, and those that changed most."""

    run: Run
    counts: tuple[tuple[str, str, int, int], ...]  # (panel, set, lost, won)
    lost: tuple[Flip, ...]
    won: tuple[Flip, ...]


def worst_documents(data: ReportData) -> WorstDocuments:
    rows = {run.label: found for run in data.runs if (found := worst(run.seeds[0], DOCUMENTS, data.with_text))}
    columns = ("run", "set", "change, bits/byte", "base, bits/byte", "tuned, bits/byte", "bytes", "where", "beginning")
    cells = tuple(
        (label, one.text_set, plain(one.loss), plain(one.base), plain(one.tuned), str(one.bytes),
         without_home(one.where), one.text)
        for label, found in rows.items() for one in found
    )  # fmt: skip
    return WorstDocuments(rows, Numbers("documents", columns, cells))


def flips(panels: Sequence[tuple[Run, Sequence[PanelFolder]]], with_text: bool = True) -> list[Flips]:
    """Of each run whose panels hold an item that flipped; without text only how many did."""
    found = []
    for run, folders in panels:
        items = [flip for folder in folders for flip in folder.flips]
        items.sort(key=lambda flip: (-abs(flip.nats), flip.where))
        lost, won = ([flip for flip in items if flip.lost == kind] for kind in (True, False))
        if items:
            counts = tuple(count for folder in folders for count in _counts(folder))
            most = ITEMS if with_text else 0
            found.append(Flips(run, counts, tuple(lost[:most]), tuple(won[:most])))
    return found


def _counts(folder: PanelFolder) -> list[tuple[str, str, int, int]]:
    """(panel, set, lost, won) of each set with an item that flipped."""
    sets = dict.fromkeys(flip.text_set for flip in folder.flips)
    lost = Counter(flip.text_set for flip in folder.flips if flip.lost)
    won = Counter(flip.text_set for flip in folder.flips if not flip.lost)
    return [(folder.name, name, lost[name], won[name]) for name in sets]


def flip_numbers(panels: Sequence[tuple[Run, Sequence[PanelFolder]]], with_text: bool = True) -> Numbers:
    """Every item that flipped; what was asked stands in the panel's folder."""
    columns = ("run", "panel", "set", "where", "base", "tuned", "right answer", "log-likelihood of it, change in nats")
    rows = tuple(
        (run.label, folder.name, flip.text_set, without_home(flip.where), answer(flip, flip.base_picked, flip.lost),
         answer(flip, flip.tuned_picked, not flip.lost), answer(flip, flip.right, True), plain(flip.nats))
        for run, folders in panels for folder in folders
        for flip in (folder.flips if with_text else map(_untold, folder.flips))
    )  # fmt: skip
    return Numbers("flipped-items", columns, rows)


def _untold(flip: Flip) -> Flip:
    return replace(flip, where="", context="", choices=())


def answer(flip: Flip, picked: int | None, right: bool) -> str:
    """What a model answered, as text where the folder holds it; of a cloze, which has one choice, right or wrong."""
    if picked is None:
        return "right" if right else "another word"
    return number.middle(flip.choices[picked], ANSWER) if picked < len(flip.choices) else f"choice {picked + 1}"
