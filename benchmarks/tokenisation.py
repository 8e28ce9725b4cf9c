"""Preparing a corpus beside the tokenizer it calls: how much the reading, the offsets and the files cost.

    python benchmarks/tokenisation.py --model FOLDER --files A.jsonl B.jsonl > benchmarks/DATE-tokenisation.md

`tokenizer` is Hugging Face's own call on texts in memory, with offsets, in batches of the same size; `prepare` is the
whole preparation of a source without its overlap count: it reads the file twice (once for the index, once for the
tokenizer) and writes the cache. `index` and `overlap` are the passes that need no tokenizer, alone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from alternate import header, middle, race, ratios, serve, spread
from transformers import AutoTokenizer

from acclimate.config.schema import SourceSection
from acclimate.data.prepare.encoding import BATCH_CHARACTERS, Encoder
from acclimate.data.prepare.index import read_index
from acclimate.data.prepare.overlap import find_overlap
from acclimate.data.prepare.tokens import tokenise
from acclimate.data.read.documents import Reader
from acclimate.types.central import Route


def batches(texts: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    characters = 0
    for text in texts:
        found[-1].append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            found.append([])
            characters = 0
    return [batch for batch in found if batch]


def contender(name: str, model: str, path: str) -> Callable[[], dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    section = SourceSection(path=path)
    documents = [document for document, _ in Reader("source", section).read()]
    texts = batches([document.text for document in documents])
    found = {"megabytes": sum(len(text.encode()) for batch in texts for text in batch) / 1e6}
    encoder = Encoder(tokenizer, "source", section, (Route("source", "source"),))

    def own() -> None:
        for batch in texts:
            tokenizer(batch, return_offsets_mapping=True, return_attention_mask=False, verbose=False)

    def prepare() -> None:
        cache = tempfile.mkdtemp()
        index = read_index("source", section, cache)
        everything = np.arange(len(index))
        tokenise(lambda: index.read(everything), index.fingerprints.digest, index.where, encoder, cache)
        shutil.rmtree(cache)

    def indexed() -> None:
        cache = tempfile.mkdtemp()
        read_index("source", section, cache)
        shutil.rmtree(cache)

    def overlap() -> None:
        find_overlap({"source": documents}, {"source": documents[::20]}, 13)

    work = {"tokenizer": own, "prepare": prepare, "index": indexed, "overlap": overlap}[name]
    return lambda: work() or found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--files", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        header("Tokenisation: preparing a corpus beside the tokenizer alone", ("tokenizers", "transformers", "numpy"))
    )
    print(
        "Rates are MB of text a second; `of its rate` is the median over rounds of tokenizer seconds / prepare seconds,"
    )
    print("smallest and largest in brackets. Other work ran on the machine, so only ratios mean something.\n")
    print("| file | documents | MB | tokenizer | prepare | of its rate | of its CPU time | index | overlap |")
    print("|---|---|---|---|---|---|---|---|---|")
    for file in arguments.files:
        names = ("tokenizer", "prepare", "index", "overlap")
        samples = race(__file__, {n: [n, arguments.model, file] for n in names}, arguments.rounds)
        size = middle(samples["tokenizer"], "megabytes")
        rate = {name: size / middle(samples[name], "wall") for name in names}
        wall, (low_high) = ratios(samples, "tokenizer", "prepare")
        cpu, _ = ratios(samples, "tokenizer", "prepare", "cpu")
        lines = Path(file).read_bytes().count(b"\n")
        print(
            f"| {Path(file).name} | {lines:,} | {size:.1f} | {rate['tokenizer']:.2f} | {rate['prepare']:.2f} | "
            f"{wall:.0%} ({low_high}) | {cpu:.0%} | {rate['index']:.1f} | {rate['overlap']:.1f} |"
        )
    print(f"\nSeconds of `prepare` on the last file: {spread(samples['prepare'], 'wall')}.")


if __name__ == "__main__":
    import sys

    if sys.argv[1] == "worker":
        serve(contender(*sys.argv[2:]))
    else:
        main()
