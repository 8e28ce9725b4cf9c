"""stm: labels against an independent scoring, counts, the cache, and resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from acclimate.build import load_model, resolve, select_labels
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.deal.pack import PackedSource
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.methods.stm import Stm
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_tokenizer
from acclimate.runs.scores import read_lines
from acclimate.types.errors import DataError, RunError
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config
from tests.fixtures.sentences import says

CHATS = {
    "domain": {"path": "chat.jsonl", "share": 0.5, "heldout": 4},
    "chat": {"path": "domain.jsonl", "share": 0.25, "heldout": 4, "route": "general"},
}


def selected(settings: RunConfig) -> tuple[Corpora, Corpora]:
    """The corpora before and after the choice."""
    job = resolve(settings)
    config, before = job.config, load_corpora(job.config, load_tokenizer(job.config.model))
    return before, select_labels(config, compose(config), before, load_model(config, job.device))


def naive(settings: RunConfig, corpora: Corpora, source: str) -> list[list[tuple[float, bool]]]:
    """(base nats, first of its answer) of every label of each training document, each piece alone, by transformers."""
    network = AutoModelForCausalLM.from_pretrained(settings.model.path)
    everything = np.ones(len(corpora.routes), dtype=bool)
    corpus, length, found = corpora.sources[source].train, settings.data.sequence_length, []
    for i in range(len(corpus)):
        ids, routes, _ = corpus.document(i)
        nats: dict[int, float] = {}
        for row in PackedSource(corpus.subset([i]), source, length, everything, 0).rows_in_order():
            for piece in row.pieces:
                prompt = ids[piece.prompt_start : piece.prompt_start + piece.prompt]
                read = torch.tensor([*ids[: piece.lead], *prompt, *ids[piece.start : piece.stop]], dtype=torch.int64)
                with torch.no_grad():
                    logits = network(read[None, :-1]).logits[0]
                own = torch.nn.functional.cross_entropy(logits, read[1:], reduction="none").tolist()
                nats.update(zip(range(piece.own, piece.stop), own[piece.own - piece.stop :], strict=True))
        found.append(
            [(nats[t], t == 1 or routes[t - 1] == NOT_LEARNED) for t in range(1, len(ids)) if routes[t] != NOT_LEARNED]
        )
    return found


@pytest.mark.parametrize("mask_first", [False, True])
@pytest.mark.parametrize("sources", ["text", "chats"])
def test_masked_are_the_labels_that_the_base_finds_unlikely(
    sources: str, mask_first: bool, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"data": {"sequence_length": 24}}  # documents are cut
    if sources == "chats":
        changes["sources"] = {n: s | {"path": str(corpora / s["path"])} for n, s in CHATS.items()}
    settings = config(
        pico_folder, corpora, tmp_path, method={"name": "stm", "percentile": 70, "mask_first": mask_first}, **changes
    )
    before, after = selected(settings)
    expected = naive(settings, before, "domain")
    limit = np.percentile([nats for document in expected for nats, _ in document], 70)
    old, new = (c.sources["domain"].train for c in (before, after))
    masked = firsts = 0
    for i, document in enumerate(expected):
        was, now = old.document(i)[1], new.document(i)[1]
        labels = [t for t in range(1, len(was)) if was[t] != NOT_LEARNED]
        for t, (nats, first) in zip(labels, document, strict=True):
            if abs(nats - limit) > 1e-4:
                assert (now[t] == NOT_LEARNED) == (nats > limit or (first and mask_first))
            masked += now[t] == NOT_LEARNED
            firsts += first and nats < limit
        assert now[0] == was[0]
        assert new.labels[i].sum() == (now[1:] != NOT_LEARNED).sum()
    assert firsts > 0
    total = sum(map(len, expected))
    mask = after.sources["domain"].mask
    assert mask is not None
    assert mask.part == pytest.approx(masked / total)
    assert masked / total == pytest.approx(0.3, abs=0.01) if not mask_first else masked / total > 0.3
    assert after.sources["general"] is before.sources["general"]
    assert after.sources["domain"].heldout is before.sources["domain"].heldout


def test_threshold_is_a_perplexity() -> None:
    nats, first = np.log(np.array([1.0, 2.4, 2.6, 1.5], dtype=np.float32)), np.array([True, False, False, False])
    assert Stm(threshold=2.5)(nats, first).tolist() == [True, True, False, True]
    assert Stm(threshold=2.5, mask_first=True)(nats, first).tolist() == [False, True, False, True]
    assert Stm(percentile=0)(nats, first).tolist() == [True, False, False, False]


def test_what_is_masked_is_counted_and_said(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Budgets in epochs count learned labels; the note, data.json and metrics agree; validate cannot know."""
    settings = config(
        pico_folder, corpora, tmp_path, method=["mol", {"name": "stm", "percentile": 60}],
        budget={"steps": None, "epochs": 4, "batch_tokens": 128},
    )  # fmt: skip
    console = Console(record=True, width=1000)
    run_dir = train(settings, console=console).run_dir
    before, after = selected(settings)
    data = json.loads((run_dir / "data.json").read_text())
    domain = data["sources"]["domain"]
    learned = int(after.sources["domain"].train.labels.sum())
    assert domain["trained_tokens"] == learned < int(before.sources["domain"].train.labels.sum())
    assert domain["masked"] == pytest.approx(1 - learned / int(before.sources["domain"].train.labels.sum()))
    assert data["sources"]["general"]["masked"] == 0
    assert says(console.export_text(), f"… Note: source 'domain': … {domain['masked']:.1%} of its labels …")
    assert data["steps"] == -(-4 * learned // 128)
    last = read_lines(run_dir / "metrics.jsonl")[-1]
    assert abs(last["trained_tokens/domain"] - data["steps"] * 128) <= 96
    plan = validate(settings.model_copy(update={"name": "new"}))
    assert plan.data["sources"]["domain"]["trained_tokens"] > learned
    assert any("as if it masked none" in note for note in plan.warnings)


def test_the_base_is_asked_once(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = {"cache_dir": str(tmp_path / "cache")}

    def masked(**settings: Any) -> float:
        stm = config(pico_folder, corpora, tmp_path, method={"name": "stm"} | settings, data=cache)
        mask = selected(stm)[1].sources["domain"].mask
        assert mask is not None
        return mask.part

    low = masked(percentile=90.0)
    (kept,) = (tmp_path / "cache" / "base_nats").iterdir()
    original = CausalModel.forward
    monkeypatch.setattr(CausalModel, "forward", lambda *args: pytest.fail("asked again"))
    assert masked(percentile=50.0) > low
    monkeypatch.setattr(CausalModel, "forward", original)
    masked(percentile=90.0)
    assert list((tmp_path / "cache" / "base_nats").iterdir()) == [kept]


def test_nothing_left(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    method = {"name": "stm", "threshold": 1.01}
    sentence = r"^sources\.domain: .* all of its [\d,]+ labels \(.* perplexity is [\d.]+\); .*threshold.*percentile"
    with pytest.raises(DataError, match=sentence):
        train(config(pico_folder, corpora, tmp_path, method=method))


def test_a_run_goes_on_with_the_labels_it_began_with(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    cache = {"cache_dir": str(tmp_path / "cache")}
    settings = config(pico_folder, corpora, tmp_path, method={"name": "stm", "percentile": 80.0}, data=cache)
    run_dir = train(settings).run_dir
    shutil.rmtree(run_dir / "model")
    (run_dir / "summary.json").unlink()
    (nats,) = (tmp_path / "cache" / "base_nats").glob("*/nats.bin")
    scores = np.fromfile(nats, dtype=np.float32)
    scores[::-1].tofile(nats)  # another base
    with pytest.raises(RunError, match="other contents of the labels learned of source 'domain'"):
        train(settings, resume=True)
    shutil.rmtree(nats.parent)  # a lost cache is made again
    assert train(settings, resume=True).summary
