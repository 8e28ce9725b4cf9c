"""The memorisation check of whole runs on the pico model: what is measured, and that nothing else changes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acclimate.build import Reread, build_objective, choose_reread, mix, reread
from acclimate.build.plan import compose
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import Corpora, load_corpora
from acclimate.data.deal.loader import Loader
from acclimate.runs.scores import read_lines, read_scores
from acclimate.verbs.run import evaluate_run, train
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.runs import config, settings

CHECKED: dict[str, Any] = {"evaluation": {"memorisation_documents": 64}}


def check(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "memorisation" / "check.json").read_text())["sources"])


def sampled(settings: RunConfig, loaded: Corpora) -> dict[str, Reread | None]:
    objective = build_objective(settings, compose(settings).terms, loaded)
    chosen = choose_reread(settings, loaded, objective.active, mix(settings, loaded, objective))
    return reread(settings, loaded, chosen)


def test_a_run_that_repeats_its_text_learns_it_by_heart(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """6 documents of random letters, learned in no other way; held-out results are as without the check."""
    draw = random.Random(0)
    letters = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(40)) for _ in range(14)]
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in letters))
    sources = {"domain": {"path": str(tmp_path / "letters.jsonl"), "heldout": 8}}
    changes: dict[str, Any] = {"method": "sft", "sources": sources, "optimizer": {"learning_rate": 2e-2}}
    data = settings(pico_folder, corpora, tmp_path, budget={"steps": 80, "batch_tokens": 200}, **changes)
    data["sources"], data["evaluation"]["memorisation_documents"] = sources, 5
    run = train(parse_config(data)).run_dir
    (found,) = check(run).values()
    assert (found["measured"], found["trained_on"]) == (5, 6)
    assert found["gap"]["low"] > 0
    assert found["bits_per_parameter"]["value"] > found["heldout_bits_per_parameter"]["value"]
    places = [line["where"] for line in read_lines(run / "memorisation" / "domain.jsonl")]
    held = [line["where"] for line in read_lines(run / "eval" / "domain.jsonl")]
    assert not {place.split(", ")[-1] for place in held} & set(places)
    assert len(set(places)) == 5
    kept = {path.name: path.read_bytes() for path in [run / "summary.json", *(run / "eval").iterdir()]}
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("memorisation_documents: 5", "memorisation_documents: 0"))
    evaluate_run(run)
    assert kept == {path.name: path.read_bytes() for path in [run / "summary.json", *(run / "eval").iterdir()]}


def test_only_documents_that_were_read_are_measured(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of a third of an epoch: the rows that training came to, in its own order."""
    data = settings(pico_folder, corpora, tmp_path, budget={"steps": 3, "batch_tokens": 250}, **CHECKED)
    whole = parse_config(data)
    loaded = load_corpora(whole, pico_tokenizer())
    seen = sampled(whole, loaded)["domain"]
    assert seen is not None
    dealt: list[Any] = []
    deal = Loader.prepared
    monkeypatch.setattr(Loader, "prepared", lambda self: dealt.append(deal(self)) or dealt[-1])
    run = train(whole).run_dir
    used = read_lines(run / "metrics.jsonl")[-1]["epochs/domain"]
    assert 0 < used < 0.8
    trained_on = {
        loaded.document_name(document)
        for step in dealt[:3]  # a fourth one was made ahead
        for batch in step
        for document in batch.document.unique().tolist()
        if document >= 0
    }
    of_domain = {name.removeprefix("source 'domain', ") for name in trained_on if name.startswith("source 'domain'")}
    assert set(seen.where) <= of_domain
    assert len(of_domain) - 2 <= seen.trained_on <= len(of_domain) < 36  # a step's last row may be begun only
    other = sampled(whole.model_copy(update={"seed": 1}), loaded)["domain"]  # another order reads other documents
    assert other is not None
    assert set(other.where) != set(seen.where)


def test_the_draw_is_seeded_and_no_larger_than_asked(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    asked = config(pico_folder, corpora, tmp_path, budget={"steps": 40, "batch_tokens": 500},
                   evaluation={"memorisation_documents": 5})  # fmt: skip
    loaded = load_corpora(asked, pico_tokenizer())
    first, again = (sampled(one, loaded)["domain"] for one in (asked, asked.model_copy(update={"seed": 7})))
    assert first is not None
    assert again is not None
    assert first.where == again.where  # all were read, so seeds of a run measure the same documents
    assert len(first.where) == 5
    assert sampled(asked, loaded).keys() == {"domain"}
    none = asked.evaluation.model_copy(update={"memorisation_documents": 0})
    assert sampled(asked.model_copy(update={"evaluation": none}), loaded) == {}


def test_a_stream_is_said_not_to_be_measured(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    sources = settings(pico_folder, corpora, tmp_path)["sources"]
    sources["domain"] |= {"streaming": True}
    run = train(config(pico_folder, corpora, tmp_path, sources=sources, budget={"steps": 2}, **CHECKED)).run_dir
    assert check(run) == {"domain": {"not_measured": "streamed"}}


def test_held_out_lines_begin_with_their_text(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    run = train(config(pico_folder, corpora, tmp_path, budget={"steps": 2}, evaluation={"documents": 3})).run_dir
    texts = {json.loads(line)["text"] for line in (corpora / "domain.jsonl").read_text().splitlines()}
    lines = read_lines(run / "eval" / "domain.jsonl")
    assert len(lines) == 3
    for line in lines:
        number = int(line["where"].rpartition(":")[2])
        assert line["text"] == json.loads((corpora / "domain.jsonl").read_text().splitlines()[number - 1])["text"]
        assert line["text"] in texts
    chats = read_lines(run / "eval" / "chat.jsonl")
    assert all(line["text"].startswith("Say ") for line in chats)


def test_a_long_text_is_cut_in_its_line(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps({"text": f"{i} " + "river " * 200}) + "\n" for i in range(8)))
    sources = settings(pico_folder, corpora, tmp_path)["sources"]
    sources["general"] |= {"path": str(long)}
    run = train(config(pico_folder, corpora, tmp_path, sources=sources, budget={"steps": 2})).run_dir
    lines = read_lines(run / "eval" / "general.jsonl")
    assert all(len(line["text"]) == 241 and line["text"].endswith("…") for line in lines)


@pytest.mark.parametrize("changes", [{}, {"lora": {"rank": 2}}, {"method": "stm"}], ids=["full", "lora", "masked"])
def test_measuring_again_gives_the_same(
    changes: dict[str, Any], pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    """With a method that masks labels too: all of a document's labels are measured, as of held-out ones."""
    if "method" in changes:
        changes = {"method": ["mol", {"name": "stm", "percentile": 50}]}
    run = train(config(pico_folder, corpora, tmp_path, **CHECKED, **changes)).run_dir
    measured = read_scores(run / "memorisation" / "domain.jsonl")
    texts = [json.loads(line)["text"] for line in (corpora / "domain.jsonl").read_text().splitlines()]
    lines = read_lines(run / "memorisation" / "domain.jsonl")
    whole = [len(texts[int(line["where"].rpartition(":")[2]) - 1].encode()) for line in lines]
    assert all(
        0 <= size - seen <= 12 for seen, size in zip(measured["bytes"], whole, strict=True)
    )  # not its first token
    first = check(run), read_scores(run / "memorisation" / "domain.jsonl")
    evaluate_run(run)
    again = check(run), read_scores(run / "memorisation" / "domain.jsonl")
    assert np.allclose(first[1]["nats"], again[1]["nats"], rtol=1e-5)
    assert first[0]["domain"]["gap"]["value"] == pytest.approx(again[0]["domain"]["gap"]["value"], abs=1e-5)
    trained = json.loads((run / "data.json").read_text())["parameters"]["trained"]
    assert first[0]["domain"]["parameters"] == trained
