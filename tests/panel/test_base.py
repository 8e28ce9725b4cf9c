"""A base is the base: its numbers beside an adapter of any kind are those of the untouched model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from acclimate.build.pairs import adapter_pair, model_pair
from acclimate.model.lora.adapter import load_adapter
from acclimate.model.reference import AdapterOff
from acclimate.types.errors import RunError
from acclimate.verbs.panel import PanelConfig, evaluate_panel
from tests.fixtures.pico import pico_model, pico_tokenizer

TARGETS = ["q_proj", "v_proj"]


def lora(**changes: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | changes))


def other(kind: str, **settings: Any) -> peft.PeftConfig:
    return getattr(peft, kind)(**({"target_modules": TARGETS, "task_type": "CAUSAL_LM"} | settings))


KINDS: dict[str, Callable[[], peft.PeftConfig]] = {
    "lora": lora,
    "rslora": lambda: lora(use_rslora=True),
    "dora": lambda: lora(use_dora=True),
    "bias all": lambda: lora(bias="all"),
    "bias lora_only": lambda: lora(bias="lora_only"),
    "bias in B": lambda: lora(lora_bias=True),
    "head": lambda: lora(modules_to_save=["lm_head"]),
    "embeddings": lambda: lora(modules_to_save=["embed_tokens"]),
    "both": lambda: lora(modules_to_save=["embed_tokens", "lm_head"]),
    "norms": lambda: lora(modules_to_save=["input_layernorm", "norm"]),
    "tokens": lambda: lora(trainable_token_indices=[40, 50, 99]),
    "lora of the embeddings": lambda: lora(target_modules=["q_proj", "embed_tokens"]),
    "pissa": lambda: lora(init_lora_weights="pissa"),  # writes the residual into the base's weights
    "ia3": lambda: other("IA3Config", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "loha": lambda: other("LoHaConfig", r=4),
    "lokr": lambda: other("LoKrConfig", r=4),
    "oft": lambda: other("OFTConfig", r=0, oft_block_size=4),
    "boft": lambda: other("BOFTConfig", boft_block_size=4),
    "vera": lambda: other("VeraConfig", r=4, target_modules=["q_proj"]),
    "adalora": lambda: other("AdaLoraConfig", init_r=4, target_r=2, total_step=10),
    "ln": lambda: peft.LNTuningConfig(task_type="CAUSAL_LM"),
    "shira": lambda: other("ShiraConfig", r=2),
}


ROWS_OF_TOKENS = ("head", "embeddings", "both", "tokens", "lora of the embeddings")
"""Kinds that meet tied weights."""


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """BOFT's CUDA extension is not built: a lock that a killed process left in the user's cache would be waited for."""
    monkeypatch.setattr(peft.tuners.boft.layer, "get_fbd_cuda", lambda: None)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Tied and untied, with biases, which some adapters write over."""
    folder = tmp_path_factory.mktemp("bases")
    found = {tie: folder / f"tied-{tie}" for tie in (True, False)}
    for tie, path in found.items():
        pico_model(tie=tie, attention_bias=True).save_pretrained(path)
        pico_tokenizer().save_pretrained(path)
    return found


@pytest.fixture(scope="module")
def base(bases: dict[bool, Path]) -> Path:
    return bases[False]


def write_adapter(base: Path, folder: Path, settings: peft.PeftConfig, rows: int | None = None) -> Path:
    """Of random weights."""
    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if rows is not None:
        network.resize_token_embeddings(rows)
    tuned = peft.get_peft_model(network, settings)
    with torch.no_grad():
        for weight in tuned.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    tuned.save_pretrained(folder)
    return folder


TEXTS = ["kidney renal bone.", "the river runs by the city", "music and a train of clouds and games"]


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> PanelConfig:
    tmp_path = tmp_path_factory.mktemp("panel")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    asked = {"question": "Which?", "choices": ["bone", "river"], "answer": 0}
    (tmp_path / "q.jsonl").write_text(json.dumps(asked))
    sets = {
        "t": {"kind": "text", "path": str(tmp_path / "t.jsonl")},
        "q": {"kind": "choice", "path": str(tmp_path / "q.jsonl")},
    }
    return PanelConfig.model_validate({"sets": sets})


@pytest.fixture(scope="module")
def alone(bases: dict[bool, Path], panel: PanelConfig) -> dict[bool, list[float]]:
    """Of each base, loaded apart from any adapter."""
    return {tie: measured(model_pair(str(path), str(path)), panel)[0] for tie, path in bases.items()}


def measured(pair: Any, panel: PanelConfig) -> tuple[list[float], list[float], list[float]]:
    """Nats of the base, of the model, and KL(base || model) of each text; log-likelihoods of both on the question."""
    sets = evaluate_panel(pair.model, pair.base, panel).sets
    texts, question = sets["t"].items, sets["q"].items[0]
    return (
        [line["base_nats"] for line in texts] + question["base"],
        [line["nats"] for line in texts] + question["model"],
        [line["kl_base_tuned"] for line in texts],
    )


@torch.no_grad()
def by_own_hands(base: Path, adapter: Path) -> tuple[list[float], list[float]]:
    """Nats of the tuned model and KL(base || tuned) of each text, from two networks that know nothing of each other."""
    plain, below = (AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval() for _ in range(2))
    tuned, tokenizer = peft.PeftModel.from_pretrained(below, adapter).eval(), pico_tokenizer()
    nats, kl = [], []
    for text in TEXTS:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        one, two = (network(input_ids=ids).logits[0, :-1].double().log_softmax(-1) for network in (plain, tuned))
        nats.append(-float(two[:-1].gather(1, ids[0, 1:-1, None]).sum()))
        kl.append(float((one.exp() * (one - two)).sum()))
    return nats, kl


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "tie"), [*((kind, False) for kind in KINDS), *((kind, True) for kind in ROWS_OF_TOKENS)]
)
def test_a_base_beside_an_adapter_is_the_base(
    kind: str, tie: bool, bases: dict[bool, Path], panel: PanelConfig, alone: dict[bool, list[float]], tmp_path: Path
) -> None:
    base = bases[tie]
    adapter = write_adapter(base, tmp_path / "adapter", KINDS[kind]())
    pair = adapter_pair(adapter, str(base))
    beside, tuned, kl = measured(pair, panel)
    assert beside == pytest.approx(alone[tie], abs=1e-6)
    nats, divergence = by_own_hands(base, adapter)
    assert tuned[: len(nats)] == pytest.approx(nats, rel=1e-5)
    assert kl == pytest.approx(divergence, rel=1e-4, abs=1e-5)
    assert min(kl) > 1e-4
    apart = not isinstance(pair.base, AdapterOff)
    assert apart == bool(pair.notes) == (kind in ("pissa", "bias all", "bias lora_only"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (lambda: lora(target_modules=["q_proj", "lm_head"]), ("output head 'lm_head' (LORA)", "--model")),
        (lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), ("PROMPT_TUNING", "LoRA, IA3")),
        (lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), ("PREFIX_TUNING",)),
        (lambda: lora(alora_invocation_tokens=[40, 41]), ("aLoRA",)),
    ],
)
def test_adapters_that_are_refused(
    settings: Callable[[], peft.PeftConfig], parts: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", settings())
    with pytest.raises(RunError) as caught:
        adapter_pair(adapter, str(base))
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["both", "embeddings", "lora of the embeddings"])
def test_an_adapter_of_another_vocabulary_says_the_sizes(kind: str, base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", KINDS[kind](), rows=260)
    with pytest.raises(RunError, match=r"vocabulary of 260 tokens .* the base has 259, .*--model"):
        adapter_pair(adapter, str(base))


def test_weights_that_an_adapter_lacks_are_not_made_up(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", lora())
    deeper = pico_model(num_hidden_layers=3, attention_bias=True)
    with pytest.raises(RunError, match=r"does not fit this base, or is not whole: .*layers\.2"):
        load_adapter(deeper, adapter)
