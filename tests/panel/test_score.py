"""Scores of shared rows equal full logits of one row a choice; a scripted model picks what it must."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from acclimate.kernels.attention import PACKED_SDPA
from acclimate.measurement.panel.encode import Encoded, encode
from acclimate.measurement.panel.items import Item
from acclimate.measurement.panel.rows import build, rows_of
from acclimate.measurement.panel.schema import PanelConfig
from acclimate.measurement.panel.score import longest_shared, score_choices
from acclimate.model.causal import CausalModel
from acclimate.model.reference import FrozenCopy
from acclimate.types.errors import DataError
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.sentences import says

ITEMS = [
    Item("a:1", "The kidney filters", ("blood", "the air of a city", "x"), 0),
    Item("a:2", "Q", ("yes", "no"), 1),
    Item("a:3", "A long context, " * 6, ("one", "a second one", "a third", "4", "five!"), 4),
    Item("a:4", "The last word is", ("word",), 0),
]
PANEL = PanelConfig.model_validate({"sets": {"x": {"kind": "text", "path": "x"}}})
CHAT = PANEL.model_copy(update={"template": "chat"})


def models(kind: str, dtype: torch.dtype = torch.float32) -> tuple[CausalModel, CausalModel]:
    """Two models of other weights, with every kind of attention that shares rows, and one that may not."""
    found = []
    for seed in (1, 2):
        network: Any
        if kind == "window":
            torch.manual_seed(seed)
            network = MistralForCausalLM(
                MistralConfig(
                    vocab_size=259, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, sliding_window=8, initializer_range=0.2,
                )
            )  # fmt: skip
        elif kind == "gpt2":
            torch.manual_seed(seed)
            sizes = {"vocab_size": 259, "n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4}
            network = GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.2))
        else:
            network = pico_model(seed)
            network.set_attn_implementation(kind)
        found.append(CausalModel(network.to(dtype).eval(), pico_tokenizer()))
    return found[0], found[1]


def naive(network: Any, context: list[int], choice: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of a choice's tokens [t, V], and the labels, from the whole network's logits on one row."""
    ids = torch.tensor([context + choice])
    with torch.no_grad():
        log_p = network(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    return log_p[len(context) - 1 : -1], ids[0, len(context) :]


@pytest.mark.parametrize("kind", ["sdpa", "eager", PACKED_SDPA, "gpt2", "window"])
@pytest.mark.parametrize("panel", [PANEL, CHAT], ids=["plain", "chat"])
def test_scores_equal_full_logits(kind: str, panel: PanelConfig) -> None:
    model, base = models(kind)
    items = encode(ITEMS, model.tokenizer, panel)
    scores = score_choices(model, FrozenCopy(base), items)
    number = 0
    for item in items:
        for i, choice in enumerate(item.choices):
            p, labels = naive(model.network, item.context, choice)
            q, _ = naive(base.network, item.context, choice)
            for row, log_p in enumerate((p, q)):
                expected = log_p.gather(1, labels[:, None]).sum().item()
                assert scores.nats[row, number] == pytest.approx(expected, abs=1e-5, rel=1e-6)
                assert scores.greedy[row, number] == (log_p.argmax(-1) == labels).all().item()
            drift = [
                (q.exp() * (q - p)).sum(), (p.exp() * (p - q)).sum(), (p.argmax(-1) == q.argmax(-1)).sum(),
                -(p.exp() * p).sum(), -(q.exp() * q).sum(),
            ]  # fmt: skip
            wanted = [value.item() if i == item.right else 0.0 for value in drift]
            assert scores.drift[:, number].tolist() == pytest.approx(wanted, abs=1e-5)
            number += 1
    assert number == len(scores.tokens) == 11
    assert not scores.truncated.any()


def test_a_context_is_run_once_where_masks_are_obeyed() -> None:
    items = encode(ITEMS, pico_tokenizer(), PANEL)
    with torch.no_grad():
        assert longest_shared(models("sdpa")[0]) > 10_000
        assert longest_shared(models("window")[0]) == 8  # a mask of ours would switch the window off
    shared, apart = rows_of(items, 512, 512), rows_of(items, 512, 0)
    assert (len(shared), len(apart)) == (4, 11)
    assert sum(row.length for row in shared) < 0.4 * sum(row.length for row in apart)
    assert len(build(shared).labels) == len(build(apart).labels) == sum(len(c) for item in items for c in item.choices)


def test_a_network_that_makes_its_own_mask_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = models("sdpa")
    expected = score_choices(model, FrozenCopy(base), encode(ITEMS, model.tokenizer, PANEL))
    forward = CausalModel.rows
    monkeypatch.setattr(CausalModel, "rows", lambda self, ids, positions, mask: forward(self, ids, positions, None))
    with torch.no_grad():
        assert longest_shared(model) == 0
    found = score_choices(model, FrozenCopy(base), encode(ITEMS, model.tokenizer, PANEL))
    assert found.nats.ravel().tolist() == pytest.approx(expected.nats.ravel().tolist(), abs=1e-4)


def test_a_model_has_no_drift_from_itself() -> None:
    model, _ = models("sdpa", torch.bfloat16)
    scores = score_choices(model, FrozenCopy.of(model), encode(ITEMS, model.tokenizer, PANEL))
    assert (scores.nats[0] == scores.nats[1]).all()
    assert (scores.drift[:2] == 0).all()


def test_a_context_beyond_the_positions_loses_its_beginning() -> None:
    """As in lm-eval: for each choice as little as it must, and counted."""
    model = CausalModel(pico_model(1, max_position_embeddings=16), pico_tokenizer())
    context, choices = list(range(20, 40)), [[5], [6, 7, 8, 9]]
    scores = score_choices(model, FrozenCopy.of(model), [Encoded(context, choices, 0, "x:1")])
    assert scores.truncated.tolist() == [True, True]
    for number, choice in enumerate(choices):
        kept = (context + choice)[-17:]
        log_p, labels = naive(model.network, kept[: -len(choice)], choice)
        assert scores.nats[0, number] == pytest.approx(log_p.gather(1, labels[:, None]).sum().item(), abs=1e-5)
    with pytest.raises(DataError, match=r"^x:1: .* 17 tokens, .* 16 positions; "):
        score_choices(model, FrozenCopy.of(model), [Encoded(context, [[5] * 17, [6]], 0, "x:1")])


def merging_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """Bytes, and two merges: 'ab' inside a word, and a blank with the 'a' after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet, "ab", "Ġa"])}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=[("a", "b"), ("Ġ", "a")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A $B", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("bos", [False, True])
def test_the_boundary_is_where_lm_eval_has_it(bos: bool) -> None:
    """The whole is tokenised and cut after the context's own tokens; blanks at its end go to the choice."""
    tokenizer = merging_tokenizer(bos)
    begin = [0] if bos else []

    def tokens(context: str, choice: str) -> tuple[list[str], list[str]]:
        (found,) = encode([Item("a:1", context, (choice,), 0)], tokenizer, PANEL)
        assert found.context[: len(begin)] == begin
        return (
            tokenizer.convert_ids_to_tokens(found.context[len(begin) :]),
            tokenizer.convert_ids_to_tokens(found.choices[0]),
        )

    assert tokens("xy", "ax") == (["x", "y"], ["Ġa", "x"])  # the blank before a choice belongs to it
    assert tokens("xy ", "ax") == (["x", "y"], ["Ġ", "Ġa", "x"])  # and so does one at the end of the context
    chat = merging_tokenizer()
    chat.chat_template = "{{ messages[0]['content'] }}:a"
    (found,) = encode([Item("a:1", "x", ("bx",), 0)], chat, CHAT)  # ':a' + 'bx' is ':', 'ab', 'x'
    assert chat.convert_ids_to_tokens(found.context) == ["x", ":", "a"]
    assert chat.convert_ids_to_tokens(found.choices[0]) == ["x"]


def test_an_empty_context_begins_with_the_bos_token() -> None:
    (found,) = encode([Item("a:1", "", ("ax",), 0)], merging_tokenizer(), PANEL)
    assert found.context == [0]
    (found,) = encode([Item("a:1", "", ("x",), 0)], pico_tokenizer(), PANEL)
    assert found.context == [0]  # no bos: the eos token
    (found,) = encode([Item("a:1", "", ("ax",), 0)], merging_tokenizer(bos=True), PANEL)
    assert found.context == [0]


def test_a_choice_without_a_token_of_its_own_is_refused() -> None:
    tokenizer = merging_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}:a"
    with pytest.raises(DataError) as caught:
        encode([Item("f.jsonl:7", "x", ("bx", "b"), 0)], tokenizer, CHAT)
    assert says(caught.value, "f.jsonl:7: choice 2 ('b') has no token of its own …")
