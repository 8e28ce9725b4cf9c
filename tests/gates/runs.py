"""Run folders with scores by document, and what is planted in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from acclimate.disk.digest import tuned_identity
from acclimate.runs.folder import read_summary, write_summary
from acclimate.runs.measured import write_measured
from acclimate.runs.scores import read_lines, write_scores
from tests.fixtures.panels import RUN_WEIGHTS
from tests.reports.runs import write_run

Scores = dict[str, np.ndarray]


def planted(random: np.random.Generator, n: int, *, rise: float = 0.0, kl: float = 0.1, points: float = 10.0) -> Scores:
    """Documents whose true rise [bits/byte], KL [nats/token] and top-1 disagreement [points] are as given."""
    size = np.exp(random.normal(6, 0.6, n)).round() + 1
    tokens = np.ceil(size / 4)
    hard = random.gamma(12, 1 / 12, n)  # bits per byte of the base, 1 on average
    change = rise + np.sqrt(0.02**2 + 0.4**2 / size) * random.standard_normal(n)
    drift = kl * random.lognormal(-0.08, 0.4, n)
    disagree = random.binomial(tokens.astype(int), random.beta(points / 5, (100 - points) / 5, n))
    return {
        "nats": (hard + change) * size * math.log(2), "base_nats": hard * size * math.log(2), "bytes": size,
        "tokens": tokens, "kl_base_tuned": drift * tokens, "agree": tokens - disagree,
    }  # fmt: skip


def scored_run(folder: Path, sets: dict[str, Scores] | None = None, **options: Any) -> Path:
    """A finished run. By default it fell by 0.2 bits/byte on the domain, and barely moved elsewhere."""
    random = np.random.default_rng(0)
    run = write_run(folder, **options)
    sets = sets or {
        "domain": planted(random, 60, rise=-0.2),
        "general": planted(random, 60, rise=0.004),
        "chat": planted(random, 60, rise=0.002),
    }
    for name, scores in sets.items():
        (run / "eval").mkdir(exist_ok=True)
        write_scores(run / "eval" / f"{name}.jsonl", [f"{name}:{i}" for i in range(len(scores["bytes"]))], scores)
    keep_sets(run, {name: len(scores["bytes"]) for name, scores in sets.items()})
    (run / "model").mkdir()
    (run / "model" / "model.safetensors").write_bytes(RUN_WEIGHTS)
    (run / "model" / "config.json").write_text("{}")
    sign(run)
    return run


def keep_sets(run: Path, documents: dict[str, int]) -> None:
    """Other sets, and other numbers of documents, than write_run wrote."""
    path = run / "summary.json"
    write_summary(path, [record for record in read_summary(path) if record["set"] in documents])

    def held(data: dict[str, Any]) -> dict[str, Any]:
        sources = {
            name: row | {"heldout_documents": n} for name, n in documents.items() for row in [data["sources"][name]]
        }
        return data | {"sources": sources}

    edit(run / "data.json", held)


def sign(run: Path) -> None:
    """The digests of training and of measuring, as they are written after each."""
    edit(run / "provenance.json", lambda record: record | {"tuned": tuned_identity(run / "model")})
    record = json.loads((run / "provenance.json").read_text())
    documents = {path.stem: len(read_lines(path)) for path in sorted((run / "eval").glob("*.jsonl"))}
    write_measured(run, record, documents)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """A JSON file."""
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=1))
