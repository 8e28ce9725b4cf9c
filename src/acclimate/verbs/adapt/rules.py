"""The choices of `adapt`: rules that read the model, the texts and the machine, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from acclimate.build import resolve
from acclimate.config.load import RunConfig, parse_config
from acclimate.data.corpus import Corpus, load_corpora
from acclimate.model.checks.reach import reach_of
from acclimate.model.load import empty_network, load_config_of, load_tokenizer
from acclimate.paired.ratio import MINIMUM_DIVERGENCES, MINIMUM_DOCUMENTS
from acclimate.types.errors import ConfigError
from acclimate.verbs.adapt.asked import Asked
from acclimate.verbs.footprint import footprint, room_on
from acclimate.verbs.memory import SPARE
from acclimate.verbs.pace import PASSES, STEPS, usual_rate

FEWEST = 8
"""Documents of a source that holds some out and learns from the rest."""
HELD, VALIDATED = 160, 32
"""Documents held out, and those of them that choices look at, at most: more make intervals hardly narrower."""
LEAST_VALIDATED, WELL_VALIDATED = 5, 12
"""Documents that choices look at, of a domain that has hardly enough for a gate besides, and of a small one [ours]."""
JUDGED = 64
"""Documents on which the verdict on what was kept stands, where there are so many: a gate passes a divergence on 60."""
LARGEST_FULL = 10**9
"""Weights that are all tuned, if they fit; more are tuned by an adapter."""
LENGTHS = (128, 256, 512, 1024, 2048)
WRITTEN = (50_000, 200_000)
"""Tokens that the base writes, at least and at most."""
ORDER = (
    "version", "name", "output_dir", "seed", "model", "method", "search", "lora", "retain", "sources", "budget",
    "optimizer", "schedule", "data", "training", "evaluation",
)  # fmt: skip
"""In which a person reads them."""
HEADROOM = 0.75
"""Of what may be forgotten: the budget that training keeps to."""


@dataclass
class Chosen:
    """Settings of a run, and why each is so by its dotted path."""

    settings: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    gated_domain: bool = True
    """Whether the domain holds enough documents out for a gate."""

    def put(self, path: str, value: Any, why: str = "") -> None:
        *parents, leaf = path.split(".")
        target = self.settings
        for part in parents:
            target = target.setdefault(part, {})
        target[leaf] = value
        if why:
            self.reasons[path] = why


def choose(asked: Asked) -> Chosen:
    """A configuration that trains, by rules.

    Raises:
        DataError, ConfigError, ModelError: the model or a text cannot be used; too few documents.
    """
    chosen = Chosen({"version": 1, "name": asked.name, "output_dir": asked.output_dir, "seed": 0})
    chosen.put("model.path", asked.model)
    chosen.put("model.dtype", "auto", "what is faster here; float32 masters either way")
    sources = {"domain": {"path": asked.paths, "heldout": 0}}
    if asked.general:
        sources["general"] = {"path": list(asked.general) if asked.general[1:] else asked.general[0], "heldout": 0}
    looked = parse_config(
        {
            "name": asked.name,
            "output_dir": asked.output_dir,
            "model": {"path": asked.model},
            "method": "sft",
            "sources": sources,
            "budget": {"steps": 1},
        }
    )
    job = resolve(looked, keep_missing=True)
    corpora = load_corpora(job.config, load_tokenizer(job.config.model)).sources
    domain = corpora["domain"]
    weights = empty_network(job.config.model).num_parameters()
    length = _length(chosen, domain, reach_of(load_config_of(job.config.model).get_text_config()).positions)
    tokens = _budget(chosen, asked, domain, length)
    held, validated = _held_out(domain)
    general = _held_out_general(corpora["general"], validated) if asked.general else validated + JUDGED
    _tuning(chosen, asked, job.config, job.device, weights, length)
    _sources(chosen, asked, sources, held, general, validated, tokens)
    chosen.settings = {key: chosen.settings[key] for key in ORDER if key in chosen.settings}
    return chosen


def _length(chosen: Chosen, domain: Corpus, positions: int) -> int:
    """Rows that hold nineteen of twenty documents whole, as far as a row of 2,048 does."""
    sizes = domain.train.lengths
    wanted = float(np.quantile(sizes, 0.95))
    length = min(next((size for size in LENGTHS if size >= wanted), LENGTHS[-1]), positions)
    why = f"of {len(sizes):,} documents of the domain, {np.mean(sizes <= length):.0%} fit into a row"
    chosen.put("data.sequence_length", length, why)
    return length


def _budget(chosen: Chosen, asked: Asked, domain: Corpus, length: int) -> int:
    """Trained tokens of the domain."""
    own = int(domain.train.labels.sum())
    chosen.put("budget.count", "domain", "the budget's tokens are the domain's; other text rides along")
    if asked.tokens is not None:
        tokens = asked.tokens
        chosen.put("budget.tokens", tokens, "--tokens")
    else:
        passes = float(asked.epochs or next((times for below, times in PASSES if own < below), 1))
        why = f"of {own:,} tokens to learn: few are read again; up to four passes are nearly as good as new text"
        passes = int(passes) if passes == int(passes) else passes
        chosen.put("budget.epochs", passes, "--epochs" if asked.epochs else why)
        tokens = math.ceil(own * passes)
    step = 2 ** round(math.log2(max(tokens / STEPS, 1)))
    batch = int(min(max(step, length, 256), 16_384))
    chosen.put("budget.batch_tokens", batch, f"about {max(1, round(tokens / batch)):,} optimizer steps")
    chosen.put("training.save_steps", max(1, round(tokens / batch / 5)), "a checkpoint each fifth, to go on from")
    return tokens


def _held_out(corpus: Corpus) -> tuple[int, int]:
    """Documents of the domain that are held out, and those of them that choices look at.

    Raises:
        ConfigError: there are too few.
    """
    count = len(corpus.train)
    if count < FEWEST:
        raise ConfigError(
            f"--domain: there {'is 1 document' if count == 1 else f'are {count} documents'}, and {FEWEST} are needed: "
            "some are held out, to keep the budget and to measure what was learned. Give more, or cut long texts into "
            "several files."
        )
    enough = count // 2 >= MINIMUM_DOCUMENTS + LEAST_VALIDATED  # half at most, as ``heldout: auto`` has it
    held = min(max(round(count / 5), min(count // 2, MINIMUM_DOCUMENTS + WELL_VALIDATED) if enough else 5), HELD)
    reported = MINIMUM_DOCUMENTS if enough else max(2, held // 3)
    return held, min(held - reported, VALIDATED)


def _held_out_general(corpus: Corpus, validated: int) -> int:
    """Documents of the general text that are held out: enough for a verdict on what was kept, if half of them are.

    Raises:
        ConfigError: half of them are too few.
    """
    count = len(corpus.train)
    held = min(max(round(count / 5), validated + JUDGED), count // 2, validated + HELD)
    if held - validated < MINIMUM_DOCUMENTS:
        raise ConfigError(
            f"--general: of {count} documents half can be held out, {validated} of them to keep the budget; the "
            f"verdict needs {MINIMUM_DOCUMENTS} more, so {2 * (MINIMUM_DOCUMENTS + validated)} documents in all. Give "
            "more, or leave --general out: the base then writes them itself."
        )
    return held


def _tuning(chosen: Chosen, asked: Asked, looked: RunConfig, device: torch.device, weights: int, length: int) -> None:
    """All weights or an adapter, and how large its steps are."""
    room = room_on(device)
    free, where = room.size, room.where
    rows = max(1, min(8, chosen.settings["budget"]["batch_tokens"] // length))
    sizes = [2**power for power in range(int(math.log2(rows)), -1, -1)]
    full = {size: _needed(looked, size, length, lora=False, device=device.type) for size in sizes}
    all_weights = weights <= LARGEST_FULL and full[1] <= SPARE * free
    said = (
        f"{weights / 1e9:.2g}B weights; tuning all takes about {full[1] / 2**30:.1f} of {free / 2**30:.1f} GiB {where}"
    )
    if asked.search:
        chosen.put("method", "auto", "short probes choose method, learning rate, share and what is tuned")
        if not all_weights:
            chosen.put("search.lora", [True], f"{said}: only an adapter is tried")
    else:
        chosen.put("method", "mol", "cross-entropy on the domain, KL to the base on the general text")
        if not all_weights:
            chosen.put("lora", {"rank": 16, "alpha": 32}, f"{said}: an adapter instead")
        rate = usual_rate(weights, not all_weights)
        kind = f"all weights ({said})" if all_weights else f"an adapter on {_count(weights)} weights"
        chosen.put("optimizer.learning_rate", rate, f"usual for {kind}")
    chosen.put("schedule", {"type": "cosine", "warmup_ratio": 0.05})
    needs = (
        full if all_weights else {size: _needed(looked, size, length, lora=True, device=device.type) for size in sizes}
    )
    fitting = next((size for size in sizes if needs[size] <= SPARE * free), 1)
    chosen.put("training.micro_batch_size", fitting, f"rows in one forward: about {needs[fitting] / 2**30:.1f} GiB")
    if needs[1] > SPARE * free:
        chosen.put("training.gradient_checkpointing", True, "memory is short: activations are computed again")


def _count(weights: int) -> str:
    """
    >>> _count(27_000), _count(135_000_000), _count(7_200_000_000)
    ('27,000', '0.14B', '7.2B')
    """
    return f"{weights / 1e9:.2g}B" if weights >= 10**7 else f"{weights:,}"


def _needed(looked: RunConfig, rows: int, length: int, lora: bool, device: str) -> float:
    """Bytes of a run with these rows."""
    data = looked.model_dump(mode="json") | {"lora": {} if lora else None}
    data["data"]["sequence_length"] = length
    data["training"]["micro_batch_size"] = rows
    return footprint(parse_config(data), ["base"], device=device).total


def _sources(
    chosen: Chosen,
    asked: Asked,
    sources: dict[str, Any],
    held: int,
    general: int,
    validated: int,
    tokens: int,
) -> None:
    """Texts, what of them is held out, and the budget of forgetting."""
    chosen.put("sources.domain.path", sources["domain"]["path"])
    chosen.put("sources.domain.share", 0.5, "half of all trained tokens")
    left = held - validated
    chosen.gated_domain = left >= MINIMUM_DOCUMENTS
    short = "" if chosen.gated_domain else f", too few for a gate on the domain ({MINIMUM_DOCUMENTS})"
    chosen.put("sources.domain.heldout", held, f"{validated} for choices, {left} for the report{short}")
    if asked.general:
        chosen.put("sources.general.path", sources["general"]["path"])
    else:
        count = min(max(tokens, WRITTEN[0]), WRITTEN[1])
        chosen.put("sources.general.path", "self", "rows that the base writes, an anchor of its own distribution")
        chosen.put(
            "sources.general.replay.tokens", count, f"as many as the run reads, {WRITTEN[0]:,} to {WRITTEN[1]:,}"
        )
        longest = min(512, chosen.settings["data"]["sequence_length"])
        chosen.put("sources.general.replay.max_new_tokens", longest, "the longest of them fit into a row")
    chosen.put("sources.general.share", 0.5)
    left, wanted = general - validated, f"; a pass needs {MINIMUM_DIVERGENCES}"
    short = wanted if left < MINIMUM_DIVERGENCES else ""
    chosen.put("sources.general.heldout", general, f"{validated} for choices, {left} for the verdict{short}")
    chosen.put(
        "retain.kl",
        float(f"{HEADROOM * asked.keep:.3g}"),
        f"nats a token; three quarters of --keep {asked.keep:g}, so that the gate's interval fits below it",
    )
    chosen.put("evaluation.validation_documents", validated, "of each source, for the budget; no report uses them")
