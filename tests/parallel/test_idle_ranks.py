"""What `train` says where a step has fewer rows than there are processes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from acclimate.build import build_training, load_model, resolve
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig
from acclimate.data.corpus import load_corpora
from acclimate.model.load import load_tokenizer
from acclimate.parallel.world import World
from acclimate.types.central import PAD_DOCUMENT
from acclimate.verbs.validate.before import idle_ranks
from tests.fixtures.runs import config
from tests.fixtures.sentences import says


def said(settings: RunConfig, ranks: int) -> tuple[list[str], float]:
    """The note, and rows without a reference in the mean of some steps, counted as they are dealt."""
    job = resolve(settings)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    texts = load_corpora(job.config, load_tokenizer(job.config.model))
    model = load_model(job.config, job.device)
    training, _, mixture = build_training(job, compose(job.config), model, texts, Console(quiet=True))
    rows, compares = 0, training.objective.compares
    for _ in range(8):
        for batch in training.data.next_step():
            wanted = int(compares[batch.route[batch.labels >= 0].unique().numpy()].max())
            rows += int((batch.document != PAD_DOCUMENT).any(1).sum()) if not wanted else 0
    training.data.close()
    world = World(size=ranks)  # no collective is called
    return list(idle_ranks(replace(job, world=world), training, texts, mixture)), rows / 8


def test_fewer_rows_than_processes(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    budget = {"steps": 8, "batch_tokens": 512}
    changes = {"sources": {n: {"path": str(corpora / f"{n}.jsonl"), "share": 0.5} for n in ("domain", "general")}}
    settings = config(pico_folder, corpora, tmp_path, budget=budget, **changes)
    assert said(settings, 1)[0] == []
    assert said(settings, 2)[0] == []
    (note,), rows = said(settings, 16)
    assert says(note, "a step has about … rows … there are 16 processes: … Raise budget.batch_tokens to about …")
    about, tokens = (int(found.replace(",", "")) for found in re.findall(r"about ([\d,]+)", note))
    assert abs(about - rows) <= 1.5
    assert 512 < tokens < 16 * 96 * 2
    enough = settings.model_copy(update={"budget": settings.budget.model_copy(update={"batch_tokens": tokens})})
    assert said(enough, 16)[0] == []
