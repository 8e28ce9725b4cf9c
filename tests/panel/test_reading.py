"""Model and base read the same tokens of the same text; what else their files hold may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers

from acclimate.build.pairs import adapter_pair, model_pair
from acclimate.config.lora_schema import LoraSection
from acclimate.model.causal import CausalModel
from acclimate.model.export import save_model
from acclimate.model.lora.adapter import attach_lora
from acclimate.types.errors import ModelError
from acclimate.verbs.panel import PanelConfig, evaluate_panel
from tests.fixtures.pico import CHAT_TEMPLATE, pico_model, pico_tokenizer
from tests.fixtures.sentences import says

OTHER_TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"


def save(folder: Path, tokenizer: Any, seed: int = 0) -> str:
    pico_model(seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def panel(folder: Path, kind: str, texts: list[str], template: str = "plain") -> PanelConfig:
    key = "question" if kind == "choice" else "text"
    rows = [{key: text, "choices": ["bone", "river"], "answer": 0} for text in texts]
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = {"s": {"kind": kind, "path": str(folder / "set.jsonl")}}
    return PanelConfig.model_validate({"template": template, "sets": sets})


def changed(what: str) -> Any:
    tokenizer = pico_tokenizer(CHAT_TEMPLATE if what == "template" else None)
    if what == "pad":
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
    if what == "eos":
        tokenizer.eos_token = "<|im_end|>"
    return tokenizer


@pytest.mark.parametrize("what", ["template", "pad", "eos"])
@pytest.mark.parametrize("kind", ["choice", "cloze", "text"])
def test_what_a_text_is_not_read_by_may_differ(what: str, kind: str, tmp_path: Path) -> None:
    """And the base's numbers stay what they are beside itself."""
    base, tuned = save(tmp_path / "base", pico_tokenizer(None)), save(tmp_path / "tuned", changed(what), seed=1)
    asked = panel(tmp_path, kind, ["Which is the kidney", "Where is the river"])
    beside, alone = (
        evaluate_panel(pair.model, pair.base, asked).sets["s"].items
        for pair in (model_pair(tuned, base), model_pair(base, base))
    )
    column = "base_nats" if kind == "text" else "base"
    assert [line[column] for line in beside] == [line[column] for line in alone]


@pytest.mark.parametrize("kind", ["choice", "text"])
def test_a_text_with_an_added_token_is_refused(kind: str, tmp_path: Path) -> None:
    base, tuned = save(tmp_path / "base", pico_tokenizer(None)), save(tmp_path / "tuned", changed("pad"), seed=1)
    pair = model_pair(tuned, base)
    asked = panel(tmp_path, kind, ["Which is it", "What is <pad> here"])
    with pytest.raises(ModelError, match=r"set\.jsonl:2: .* reads '<pad>' \(id 259\) where the base's reads '<'"):
        evaluate_panel(pair.model, pair.base, asked)


def test_another_tokenizer_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    other = pico_tokenizer()
    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ModelError, match=r"has another tokenizer than '.*tuned'.*give the base"):
        model_pair(save(tmp_path / "tuned", other), save(tmp_path / "base", pico_tokenizer()))


def test_a_paired_chat_is_put_in_one_template(tmp_path: Path) -> None:
    """The tuned model's own, whether it is an adapter or whole, and the reader is told."""
    base = save(tmp_path / "base", pico_tokenizer())
    network = pico_model()
    model = CausalModel(network, pico_tokenizer(OTHER_TEMPLATE), attach_lora(network, LoraSection(rank=2)))
    save_model(model, tmp_path / "adapter", base)
    whole = save(tmp_path / "whole", pico_tokenizer(OTHER_TEMPLATE))
    asked = panel(tmp_path, "choice", ["Which is it"], "chat")
    pairs = [adapter_pair(tmp_path / "adapter", base), model_pair(whole, base)]
    for pair, name in zip(pairs, ("adapter", "whole"), strict=True):
        (note,) = pair.said(asked.template == "chat")
        assert says(note, f"… chat template of '{tmp_path / name}' …")
        assert pair.said(chat=False) == []
    one, two = (evaluate_panel(pair.model, pair.base, asked).sets["s"].items for pair in pairs)
    assert one == two  # the adapter is fresh, so all four are the same model
    assert one != evaluate_panel(*own(model_pair(base, base)), asked).sets["s"].items


def own(pair: Any) -> tuple[Any, Any]:
    return pair.model, pair.base


def test_a_model_that_lost_its_template_gets_the_bases(tmp_path: Path) -> None:
    base, tuned = save(tmp_path / "base", pico_tokenizer()), save(tmp_path / "tuned", pico_tokenizer(None))
    pair = model_pair(tuned, base)
    asked = panel(tmp_path, "choice", ["Which is it"], "chat")
    assert "has no chat template: in chat form both" in pair.said(asked.template == "chat")[0]
    line = evaluate_panel(pair.model, pair.base, asked).sets["s"].items[0]
    assert line["model"] == line["base"]
