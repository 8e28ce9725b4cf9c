"""Rows that a model writes are drawn from it: a chain of known probabilities, and batches that change nothing."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig

from acclimate.measurement.sample import Sampler, Written
from acclimate.model.causal import CausalModel
from acclimate.types.errors import ModelError
from tests.fixtures.families import pico_of
from tests.fixtures.pico import pico_model, pico_tokenizer
from tests.fixtures.sentences import refused

A, B, START = 10, 11, 12
CHAIN = {START: {A: 0.8, B: 0.2}, A: {A: 0.6, B: 0.4}, B: {A: 0.3, B: 0.7}}
PATHS = {(A, A): 0.48, (A, B): 0.32, (B, A): 0.06, (B, B): 0.14}


@pytest.fixture(scope="module")
def chain() -> CausalModel:
    """A network whose next token depends on the last one alone, as CHAIN says."""
    network = pico_model(num_hidden_layers=1, tie=False)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        network.model.embed_tokens.weight[:, -1] = 1.0  # of a token outside of the chain
        for place, (token, following) in enumerate(CHAIN.items()):
            network.model.embed_tokens.weight[token, [place, -1]] = torch.tensor([1.0, 0.0])
            network.lm_head.weight[:, place] = -50.0
            for behind, probability in following.items():
                network.lm_head.weight[behind, place] = math.log(probability) / math.sqrt(32)
    return CausalModel(network, pico_tokenizer())


def kl_to_uniform(last: int) -> float:
    return sum(p * math.log(2 * p) for p in CHAIN[last].values())


def test_paths_of_a_chain_are_as_frequent_as_they_are_likely(chain: CausalModel) -> None:
    sampler = Sampler(chain)
    rows = [row for seed in range(8) for row in sampler.write([[START]] * 500, 2, (), seed)]
    counts = Counter(row.ids for row in rows)
    assert counts.keys() == PATHS.keys()
    observed, expected = np.array([(counts[path], p * len(rows)) for path, p in PATHS.items()]).T
    assert chisquare(observed, expected).pvalue > 0.01
    forward = np.mean([kl_to_uniform(START) + kl_to_uniform(row.ids[0]) for row in rows])
    assert forward == pytest.approx(0.225310, abs=0.002)  # the KL of the sequences
    assert kl_to_uniform(START) + kl_to_uniform(A) == pytest.approx(0.212880, abs=1e-6)  # what greedy rows would give


def test_a_checkpoints_own_way_of_choosing_tokens_is_left_out(chain: CausalModel) -> None:
    chain.network.generation_config = GenerationConfig(top_k=1, repetition_penalty=1.9, suppress_tokens=[B])
    rows = Sampler(chain).write([[START]] * 400, 2, (), 0)
    assert len({row.ids for row in rows}) == 4
    assert chain.network.generation_config.top_k == 1  # and is there again
    greedy = Sampler(chain, top_p=0.5).write([[START]] * 50, 2, (), 0)
    assert {row.ids for row in greedy} == {(A, A)}


def test_a_batch_is_the_same_whatever_came_before_and_leaves_random_numbers_alone() -> None:
    sampler = Sampler(CausalModel(pico_model(), pico_tokenizer()))
    prompts = [[5, 6, 7], [9], [20, 21]]
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = sampler.write(prompts, 12, (0,), 7)
    assert torch.equal(torch.random.get_rng_state(), before)
    sampler.write(prompts, 5, (0,), 8)
    assert sampler.write(prompts, 12, (0,), 7) == first
    assert sampler.write(prompts, 12, (0,), 9) != first


def test_a_row_is_cut_at_its_first_end_or_at_the_limit(chain: CausalModel) -> None:
    rows = Sampler(chain).write([[START]] * 40, 6, (B,), 1)
    for row in rows:
        assert row.ended == (row.ids[-1] == B)
        assert B not in row.ids[:-1]
        assert row.ended or len(row.ids) == 6
    assert {row.ended for row in rows} == {True, False}
    assert Written((B,), True) in rows  # also one that ends at once


@pytest.mark.parametrize(
    ("network", "batching"),
    [
        (pico_model, "padded"),
        (lambda: pico_of("Mamba"), "padded"),
        (lambda: pico_of("Lfm2"), "padded"),
        (lambda: pico_of("RecurrentGemma"), "equal"),
    ],
    ids=["llama", "mamba", "lfm2", "recurrent gemma"],
)
def test_prompts_share_a_batch_only_where_that_changes_nothing(network: Any, batching: str) -> None:
    """Without randomness (top_p near 0) each row is what is written of its prompt alone."""
    sampler = Sampler(CausalModel(network(), pico_tokenizer()), top_p=1e-6)
    prompts = [[5, 6, 7, 8, 9], [30], [40, 41, 42], [50, 51, 52]]
    alone = [sampler.write([prompt], 8, (), 0)[0] for prompt in prompts]
    assert sampler.write(prompts, 8, (), 0) == alone
    assert sampler.batching == batching


def test_padding_that_would_change_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that ignores the mask of padding: prompts of one length still share a batch."""
    network = pico_model()
    original = network.forward

    def blind(attention_mask: Any = None, position_ids: Any = None, **options: Any) -> Any:
        return original(**options)

    model = CausalModel(network, pico_tokenizer())
    monkeypatch.setattr(network, "forward", blind)
    sampler = Sampler(model, top_p=1e-6)
    assert sampler.batching == "equal"
    prompts = [[5, 6, 7, 8, 9], [40, 41, 42], [50, 51, 52]]
    assert sampler.write(prompts, 8, (), 0) == [sampler.write([prompt], 8, (), 0)[0] for prompt in prompts]


def test_a_network_that_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(pico_model(), pico_tokenizer())

    def broken(**options: Any) -> Any:
        raise ValueError("no cache of this kind")

    monkeypatch.setattr(model.network, "generate", broken)
    with refused("LlamaForCausalLM cannot write text … (ValueError: no cache of this kind) … no rows; …", ModelError):
        Sampler(model)
