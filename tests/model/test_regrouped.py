"""Documents in rows of their own: equal to packed ones where a family packs, equal to each alone in every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from acclimate.config.load import load_config
from acclimate.measurement.generate import side_by_side
from acclimate.measurement.panel.encode import Encoded
from acclimate.measurement.panel.score import longest_shared, score_choices
from acclimate.model.causal import CausalModel
from acclimate.model.packing.regrouped import Regrouped
from acclimate.model.reference import FrozenCopy
from acclimate.reports import write_report
from acclimate.runs.scores import read_lines
from acclimate.types.central import Batch
from acclimate.verbs.export import export
from acclimate.verbs.run import evaluate_run, train
from acclimate.verbs.validate import print_preflight, validate
from tests.fixtures.batches import packed
from tests.fixtures.families import SHAPES, pico_of
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import config

ROWS = [[(0, 70, 0), (1, 3, 0), (2, 33, 0), (3, 1, 0)], [(4, 50, 0), (5, 1, 0)], [(6, 90, 0)]]
UNPACKED = [name for name in SHAPES if name != "ModernBertDecoder"]


def states_and_gradients(model: CausalModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    model.network.zero_grad()
    hidden = model(batch)
    real = batch.document >= 0
    hidden[real].sin().sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.network.named_parameters() if p.grad is not None}
    return hidden[real].detach(), gradients


@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_family_that_packs_has_the_same_gradient_in_rows_of_their_own(checkpointing: bool, more: int) -> None:
    model = CausalModel(pico_model(dtype=torch.float64), pico_tokenizer())
    assert model.alone is None
    if checkpointing:
        model.network.train()
        model.network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    batch = packed(ROWS)
    expected, wanted = states_and_gradients(model, batch)
    model.alone, model.agree = "asked for", lambda own: own + more
    assert len(Regrouped.of(batch.position_ids, model.agree).packing.shapes) == 4 + more
    found, gradients = states_and_gradients(model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-10)


@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=6), min_size=1, max_size=4), st.integers(0, 3))
def test_every_token_comes_back(rows: list[list[int]], more: int) -> None:
    batch = packed([[(0, length, 0) for length in row] for row in rows])
    regrouped, forwards = Regrouped.of(batch.position_ids, lambda own: own + more), []

    def states(ids: Tensor) -> Tensor:
        forwards.append(ids.numel())
        return torch.stack([ids, torch.arange(ids.shape[1]).expand_as(ids)], -1).double()

    found = regrouped.hidden(states, batch.input_ids)
    assert torch.equal(found[..., 0].long(), batch.input_ids)
    assert torch.equal(found[..., 1].long(), batch.position_ids)
    assert sum(forwards) == regrouped.positions
    assert len(forwards) == len(regrouped.packing.shapes)


@pytest.mark.parametrize("family", SHAPES)
def test_documents_are_computed_as_each_alone(family: str) -> None:
    network = pico_of(family)
    model = CausalModel(network, pico_tokenizer())
    assert (model.alone is not None) == (family in UNPACKED)
    batch = packed(ROWS)
    with model.inference():
        together = model.head.logits(model(batch))
        for document in range(7):
            here = batch.document == document
            alone = network(input_ids=batch.input_ids[here][None], use_cache=False).logits[0]
            assert (together[here] - alone).norm() < 1e-5 * alone.norm()
    computed = (
        Regrouped.of(batch.position_ids, model.agree).positions if family in UNPACKED else batch.input_ids.numel()
    )
    assert model.forwards == computed
    reference = FrozenCopy.of(model)
    assert reference.model.alone == model.alone
    network.train()
    found, gradients = states_and_gradients(model, batch)
    assert torch.equal(found, reference.hidden(batch)[batch.document >= 0])  # so the divergence is 0
    assert model.forwards == 4 * computed
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-4


@pytest.mark.parametrize("family", ["Lfm2", "Bloom"])
def test_choices_and_answers(family: str) -> None:
    model, base = (CausalModel(pico_of(family, seed), pico_tokenizer()) for seed in (0, 1))
    items = [
        Encoded(list(range(5, 17)), [[20], [21, 22, 23], [24, 25]], 1, "x:1"),
        Encoded([9], [[8, 7], [6]], 0, "x:2"),
    ]
    with torch.no_grad():
        assert longest_shared(model) == 0
    scores, number = score_choices(model, FrozenCopy(base), items), 0
    for item in items:
        for choice in item.choices:
            for side, network in enumerate((model.network, base.network)):
                with torch.no_grad():
                    logits = network(torch.tensor([item.context + choice]), use_cache=False).logits[0].double()
                log_p = logits.log_softmax(-1)[len(item.context) - 1 : -1]
                expected = log_p.gather(1, torch.tensor(choice)[:, None]).sum().item()
                assert scores.nats[side, number] == pytest.approx(expected, abs=1e-5, rel=1e-6)
            number += 1
    answers = side_by_side(model, FrozenCopy(base), [("x", "kidney", [30, 31, 32])], 4, ())
    written = model.network.generate(torch.tensor([[30, 31, 32]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert answers[0]["tuned"] == pico_tokenizer().decode(written[0, 3:], skip_special_tokens=True).strip()


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_a_run_of_a_family_that_does_not_pack(
    lora: dict[str, Any] | None, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pico_of("Lfm2").save_pretrained(tmp_path / "model")
    pico_tokenizer().save_pretrained(tmp_path / "model")
    settings = config(tmp_path / "model", corpora, tmp_path, lora=lora, budget={"steps": 2}, training={"save_steps": 1})
    plan = validate(settings)
    assert plan.outlook is not None
    assert plan.outlook.alone == "documents that are packed in one row see each other"
    assert 1.0 < plan.computed < 1.5
    print_preflight(plan, Console(width=400))
    said = capsys.readouterr().out
    assert "attention sdpa (chosen) · documents in rows of their own, since otherwise documents that are packed" in said
    assert f"{plan.computed:.2f} times the positions are computed" in said
    result = train(settings)
    run = result.run_dir
    steps = read_lines(run / "metrics.jsonl")
    assert steps[0]["loss/general/reverse_kl"] == 0 < steps[1]["loss/general/reverse_kl"]
    assert load_config(run / "config.yaml").model.attention == "sdpa"
    about = json.loads((run / "data.json").read_text())["attention"]
    assert about == {"name": "sdpa", "alone": "documents that are packed in one row see each other"}
    page = write_report([run], tmp_path / "r.html").read_text()
    assert "Attention: sdpa, documents in rows of their own, since otherwise documents that" in page
    assert "| attention | sdpa, documents in rows of their own" in (run / "model" / "README.md").read_text()
    assert evaluate_run(run).summary == result.summary
    export(run, tmp_path / "out", merge=True)


def test_the_attention_that_was_chosen_is_kept(corpora: Path, tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    shape = Gemma2Config(
        vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, sliding_window=16, eos_token_id=0, pad_token_id=0, bos_token_id=None,
        initializer_range=0.2,
    )  # fmt: skip
    Gemma2ForCausalLM(shape).save_pretrained(tmp_path / "model")
    pico_tokenizer().save_pretrained(tmp_path / "model")
    settings = config(tmp_path / "model", corpora, tmp_path, budget={"steps": 1})
    assert settings.model.attention == "auto"
    assert validate(settings).attention == "eager"
    result = train(settings)
    assert load_config(result.run_dir / "config.yaml").model.attention == "eager"
    assert train(settings, resume=True).summary == result.summary  # auto means what it meant
    assert evaluate_run(result.run_dir).summary == result.summary
