"""Memory does not grow with a corpus: measured in a process of its own, on 60 MB of text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import resource, sys
import numpy as np
from acclimate.data.corpus import load_corpora
from acclimate.data.index import read_index
from tests.data.samples import run_config
from tests.data.test_stream import rows_of
from tests.fixtures.pico import pico_tokenizer
from pathlib import Path

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder = Path(sys.argv[1])
config = run_config(folder, {"web": {"path": str(folder / "web.jsonl"), "streaming": True, "shuffle_buffer": 32}})
corpora = load_corpora(config, pico_tokenizer())
rows = rows_of(corpora.sources["web"], corpora, 512)
trained = 0
marks = []
for limit in (1_000_000, 8_000_000):
    while trained < limit:
        trained += rows.next_row().trained
    marks.append(peak())
rows.close()
index = read_index("all", config.sources["web"].model_copy(update={"streaming": False}), str(folder / "cache"))
print(len(index), marks[1] - marks[0], peak() - marks[1])
"""


def test_memory_stays_while_a_corpus_goes_by(tmp_path: Path) -> None:
    text = "the court of the year found for the plaintiff " * 217
    with (tmp_path / "web.jsonl").open("w") as file:
        for i in range(6000):
            file.write(json.dumps({"text": f"{i} {text}"}) + "\n")
    assert (tmp_path / "web.jsonl").stat().st_size > 58e6
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=os.environ,
    )  # fmt: skip
    print(found.stdout)
    documents, streaming, indexing = map(float, found.stdout.split()[-3:])
    assert documents == 6000
    assert streaming < 40  # MiB, for 7 MB of text: 70 MB of tokens
    assert indexing < 30  # for all 60 MB
