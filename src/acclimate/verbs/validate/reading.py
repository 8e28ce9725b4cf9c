"""How the files and rows of each source are read, where that is a choice; which files are not, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from acclimate.data.corpus import Corpora, Corpus
from acclimate.data.read import pages
from acclimate.data.read.files import UNSUPPORTED

EXTRA = f"{pages.EXTRA} reads them"
PANDOC, SHEETS = "`pandoc -t plain FILE -o FILE.txt`", "save as .csv"
WAYS: Mapping[str, str] = {
    **dict.fromkeys(pages.FORMATS, EXTRA), ".odt": PANDOC, ".epub": PANDOC, ".rtf": PANDOC, ".rst": PANDOC,
    ".tex": PANDOC, ".ipynb": PANDOC, ".doc": "save as .docx",
    ".xlsx": SHEETS, ".xls": SHEETS, ".ods": SHEETS, ".arrow": "save as .parquet", ".feather": "save as .parquet",
    ".json": "it holds no records whose fields are known (docs/howto/data.md)", ".ndjson": "rename to .jsonl",
    ".text": "rename to .txt", ".markdown": "rename to .md", "(none)": "add .txt to the name",
    ".zip": "unpack", ".tar": "unpack", ".tgz": "unpack",
}  # fmt: skip
"""Extension -> how its text becomes one that is read."""
SHOWN_KINDS = 8


def read_as(corpora: Corpora) -> list[str]:
    """One line a source and way in which its rows are read: names of other tools, pairs."""
    return [line for corpus in corpora.sources.values() for line in corpus.read_as]


def files_not_read(corpus: Corpus) -> Iterator[str]:
    """A note with the count by kind, and what makes text of each."""
    kinds = {
        reason.removeprefix(f"{UNSUPPORTED} "): count
        for reason, count in sorted(corpus.passed_over.items(), key=lambda item: (-item[1], item[0]))
        if reason.startswith(UNSUPPORTED)
    }
    if not kinds:
        return
    shown = [f"{count:,} {kind}" for kind, count in list(kinds.items())[:SHOWN_KINDS]]
    more = f" and {len(kinds) - SHOWN_KINDS} kinds more" if len(kinds) > SHOWN_KINDS else ""
    ways: dict[str, list[str]] = {}
    for kind in kinds:
        if kind in WAYS:
            ways.setdefault(WAYS[kind], []).append(kind)
    advice = "; ".join(f"{', '.join(of)}: {way}" for way, of in ways.items())
    count = sum(kinds.values())
    files = "1 file of its path is" if count == 1 else f"{count:,} files of its path are"
    what = f" What makes text of them: {advice}." if advice else ""
    yield f"source '{corpus.name}': {files} not read: {', '.join(shown)}{more}.{what}"
