"""Per-item log-likelihoods of a panel beside those of lm-eval's HF backend, and the time of both, in turns.

``python benchmarks/panel.py MODEL panel.yaml --turns 2``, with an lm-eval of your own; choice and cloze sets only.
lm-eval gets the strings that the panel asks, so that tasks and prompts play no part.
"""

from __future__ import annotations

import argparse
import time

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from acclimate.config.schema import ModelSection
from acclimate.data.chat.rendering import ChatTemplate
from acclimate.measurement.panel.encode import encode
from acclimate.measurement.panel.items import read_items
from acclimate.measurement.panel.score import score_choices
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_network, load_tokenizer
from acclimate.model.reference import FrozenCopy
from acclimate.verbs.panel import load_panel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("panel")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8, help="of lm-eval")
    given = parser.parse_args()
    section = ModelSection(path=given.model)
    tokenizer, panel = load_tokenizer(section), load_panel(given.panel)
    model = CausalModel(load_network(section, torch.float32, torch.device("cpu")), tokenizer)
    peer = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32),
        tokenizer=tokenizer,
        batch_size=given.batch_size,
        device="cpu",
    )
    for name, sets in panel.sets.items():
        items = read_items(name, sets, panel.seed).items
        requests = []
        for item in items:
            context, blank = item.context, " "
            if panel.template == "chat":
                turn = [{"role": "user", "content": context}]
                context, blank = str(ChatTemplate(tokenizer).attempt(turn, panel.thinking, generation_prompt=True)), ""
            requests += [Instance("loglikelihood", {}, (context, blank + choice), 0) for choice in item.choices]
        seconds: dict[str, list[float]] = {"acclimate": [], "lm-eval": []}
        for _ in range(given.turns):
            started = time.perf_counter()
            scores = score_choices(model, FrozenCopy(model), encode(items, tokenizer, panel))  # both sides: two passes
            seconds["acclimate"].append((time.perf_counter() - started) / 2)
            started = time.perf_counter()
            found = peer.loglikelihood(requests, disable_tqdm=True)
            seconds["lm-eval"].append(time.perf_counter() - started)
        apart = max(abs(own - other) for own, (other, _) in zip(scores.nats[0], found, strict=True))
        greedy = sum(own != other for own, (_, other) in zip(scores.greedy[0].tolist(), found, strict=True))
        best = {who: min(times) for who, times in seconds.items()}
        print(
            f"{panel.template} {name}: {len(items)} items, {len(requests)} choices, largest difference "
            f"{apart:.1e} nats, greedy differs {greedy}; one model {best['acclimate']:.1f} s, "
            f"lm-eval {best['lm-eval']:.1f} s, ratio {best['lm-eval'] / best['acclimate']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
