"""Memory does not grow with a corpus: measured in a process of its own, on 15 MB of text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from acclimate.data.deal import beginning
from acclimate.data.corpus import load_corpora
from acclimate.data.prepare.index import read_index
from tests.data.samples import run_config
from tests.data.test_stream import rows_of
from tests.fixtures.pico import pico_tokenizer

def held():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

beginning.BEGINNING_CHARACTERS = 100_000  # else what it freed would hide growth
folder = Path(sys.argv[1])
web = {"path": str(folder / "web.jsonl"), "streaming": True, "shuffle_buffer": 32, "heldout": 1}
config = run_config(folder, {"web": web})
corpora = load_corpora(config, pico_tokenizer())
rows = rows_of(corpora.sources["web"], corpora, 512)
trained, marks = 0, []
for limit in (250_000, 1_750_000):
    while trained < limit:
        trained += rows.next_row().trained
    marks.append(held())
rows.close()
before = held()
index = read_index("all", config.sources["web"].model_copy(update={"streaming": False}), str(folder / "cache"))
print(len(index), marks[1] - marks[0], held() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
def test_memory_stays_while_a_corpus_goes_by(tmp_path: Path) -> None:
    text = "the court of the year found for the plaintiff " * 217
    with (tmp_path / "web.jsonl").open("w") as file:
        for i in range(1500):
            file.write(json.dumps({"text": f"{i} {text}"}) + "\n")
    assert (tmp_path / "web.jsonl").stat().st_size > 14e6
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=os.environ,
    )  # fmt: skip
    print(found.stdout)
    documents, streaming, indexing = map(float, found.stdout.split()[-3:])
    assert documents == 1500
    assert streaming < 60  # MiB; what went by is 150 MB as tokens
    assert indexing < 20  # of 15 MB of text
