"""Any two models on the same text, and a gate on what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import acclimate as ac
from acclimate.gates import parse_policy
from acclimate.types.errors import AcclimateError, UsageError
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.runs import write_corpora


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpora(tmp_path_factory.mktemp("text"), documents=64) / "general.jsonl"


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pico model with a little noise."""
    folder, network = tmp_path_factory.mktemp("moved"), pico_model(0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    network.save_pretrained(folder)
    pico_tokenizer().save_pretrained(folder)
    return folder


def test_a_gate_on_any_two_model_folders_in_three_lines(moved: Path, pico_folder: Path, text: Path) -> None:
    pair = ac.open_pair(moved, base=pico_folder)
    found = ac.measure(pair, on={"general": text})
    verdict = ac.gate(found, {"roles": {"general": {"max_drop": {"kl_base_tuned": "9 nats/token"}}}})

    drift = found.change("general", "kl_base_tuned")
    assert 0 < drift.low < drift.value < drift.high
    assert drift.n == 64
    assert verdict.outcome == "pass"
    assert found.change("general").unit == "bits/byte"
    strict = parse_policy({"sets": {"general": {"max_drop": {"kl_base_tuned": "0.00001 nats/token"}}}})
    assert ac.gate(found, strict).outcome == "fail"
    assert "<th>general</th><td>kl_base_tuned [nats/token]</td>" in found._repr_html_()
    assert "kl_base_tuned [nats/token]" in str(found)
    with pytest.raises(UsageError, match=r"no set 'genral'; measured: general\. Did you mean 'general'"):
        found.change("genral")
    with pytest.raises(UsageError, match="no metric 'kl'; it has bits_per_byte, kl_base_tuned"):
        found.change("general", "kl")


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (
            {"sets": {"chat": {"max_drop": {"kl_base_tuned": "1 nats/token"}}}},
            "measured no set 'chat'; it measured general",
        ),
        (
            {"panels": {"p": {"general": {"max_drop": {"accuracy": "1 points"}}}}},
            r"panels.p: what was measured is called",
        ),
        ({"sets": {"general": {"max_drop": {"accuracy": "1 points"}}}}, "'general' is not measured by accuracy"),
    ],
)
def test_a_rule_about_nothing_is_refused(
    moved: Path, pico_folder: Path, text: Path, policy: dict[str, object], says: str
) -> None:
    found = ac.Measured("mine", _general(text))
    with pytest.raises(AcclimateError, match=says):
        ac.gate(found, parse_policy(policy))


def _general(text: Path) -> tuple[object, ...]:
    own = ac.causal(pico_model(0), pico_tokenizer())
    packed = ac.mix({"general": ac.text(text, heldout=20)}, cache_dir=text.parent / "cache").packed(
        pico_tokenizer(), length=64, tokens=64
    )
    return ac.measure(own, packed.heldout, base=ac.frozen_copy(own)).judged


def test_the_student_of_a_loop_is_measured_on_what_it_never_saw(text: Path) -> None:
    (judged,) = _general(text)
    found = ac.Measured("mine", (judged,))
    assert found.change("general", "kl_base_tuned").value == 0.0
    assert found.change("general", "bits_per_byte").value == 0.0
    assert judged.items == 20


def test_choices_are_judged_too(moved: Path, pico_folder: Path, tmp_path: Path) -> None:
    questions = [{"question": f"What is {i}?", "choices": ["a", "b"], "answer": i % 2} for i in range(24)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    found = ac.measure(
        ac.open_pair(moved, pico_folder), on={"q": {"kind": "choice", "path": str(tmp_path / "q.jsonl")}}
    )
    assert -1 <= found.change("q", "accuracy").value <= 1
    lax = parse_policy({"sets": {"q": {"max_drop": {"accuracy": "100 points"}}}})
    assert ac.gate(found, lax).checks[0].metric == "accuracy"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ac.open_pair("there"), "'there' is no run folder, .* give base"),
        (lambda: ac.measure("there", {"a": "b"}), "the first argument is what acclimate.open_pair"),
        (
            lambda: ac.measure(ac.causal(pico_model(), pico_tokenizer()), {"a": "b"}),
            "a panel compares a model with its base",
        ),
    ],
)
def test_what_is_wrong_is_said(make: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()  # type: ignore[operator]
