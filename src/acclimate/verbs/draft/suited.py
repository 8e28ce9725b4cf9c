"""What suits a model on a machine: rate, rows, and what saves memory where it is short."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from itertools import accumulate, takewhile

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from acclimate.config.source_schema import SourceSection
from acclimate.config.template import DEFAULT_MODEL, Suited
from acclimate.data.read.documents import Reader
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.checkpoint.outline import outline_of
from acclimate.types.errors import AcclimateError
from acclimate.verbs.draft.seen import LENGTH, ROWS, Seen, by_files
from acclimate.verbs.memory import GIB, Room
from acclimate.verbs.pace import PASSES, STEPS, usual_rate

PATIENCE = 5.0
"""Seconds for the hub to answer."""
DEFAULT_WEIGHTS = 134_515_008
"""Of the default model."""
READ = 20_000_000
CHARACTERS = 4
"""Of a token, about."""
LARGE = READ // CHARACTERS // 2
"""Tokens from which the template's own steps are right."""


def suited_to(model: str, gpu: Room | None = None) -> tuple[Suited, list[str]]:
    """Values of the template, and sentences about what was seen.

    A model that is neither here nor to be had from the hub is not looked at, which is said.

    Args:
        gpu: where it will be trained, if not here.

    Raises:
        ConfigError, ModelError: it is no model.
    """
    if not (_is_here(model) or _answers(model)):
        known = DEFAULT_WEIGHTS if model == DEFAULT_MODEL else None
        rate = usual_rate(known, lora=True) if known else Suited().rate
        return Suited(rate=rate), [
            f"'{model}' is not on this machine yet, so nothing of it was looked at: `acclimate validate` does."
        ]
    seen = _seen(model, gpu)
    size = f"{seen.weights / 1e9:.2g}B weights" if seen.weights >= 10**7 else f"{seen.weights:,} weights"
    kind = "instruct: it has a chat template" if seen.chats else "a base model: it has no chat template"
    memory = f"about {seen.needs / GIB:.1f} of {seen.room.size / GIB:.1f} GiB {seen.room.where}"
    suited = Suited(
        about=f"{size}, {kind}",
        rate=usual_rate(seen.weights, lora=True),
        rate_why=f"usual for LoRA on {size}; for full tuning {usual_rate(seen.weights, lora=False):g}",
        length=seen.takes.get("data.sequence_length", min(LENGTH, seen.positions)),
        longest=min(LENGTH, seen.positions // 2),  # the prompt needs room, too
        rows=seen.takes.get("training.micro_batch_size", ROWS),
        rows_why=f"packed rows in one forward: {memory}",
        checkpointing=seen.takes.get("training.gradient_checkpointing", False),
        nf4="model.quantization" in seen.takes,
    )
    return suited, [f"Model: {size}, {kind}. Memory: {memory}.", *seen.short]


def _seen(model: str, gpu: Room | None) -> Seen:
    """By files where they tell all that is needed, else by the structure, which loads torch."""
    outline = outline_of(model)
    seen = by_files(outline, model, gpu) if outline is not None else None
    if seen is not None:
        return seen
    from acclimate.verbs.draft.structure import by_structure

    return by_structure(model, gpu)


def paced(suited: Suited, domain: str) -> tuple[Suited, list[str]]:
    """How long to train on the domain, and in how large steps, by how much text there is; and a sentence about it.

    Text that is not there, or cannot be read yet, changes nothing.
    """
    try:
        reader = Reader("domain", SourceSection(path=domain))
        texts = (len(document.text) for document, _ in reader.read())
        counted = list(takewhile(lambda read: read < READ, accumulate(texts)))
    except AcclimateError:
        return suited, []
    if not counted or (tokens := counted[-1] // CHARACTERS) >= LARGE:
        return suited, []
    passes = next((times for below, times in PASSES if tokens < below), 1)
    step = 2 ** round(math.log2(max(tokens * passes / STEPS, 1)))
    batch = min(max(step, suited.length, 256), suited.batch_tokens)
    said = f"Domain text: about {tokens:,} tokens in {len(counted):,} documents; {passes} passes in steps of {batch:,}."
    return replace(suited, epochs=passes, batch_tokens=batch), [said]


def _is_here(model: str) -> bool:
    if os.path.exists(os.path.expanduser(model)):
        return True
    gguf = gguf_of(model)
    place, file = (gguf.place, gguf.file) if gguf is not None else (model, "config.json")
    try:
        return isinstance(try_to_load_from_cache(place, file), str)
    except HFValidationError:  # no hub id, which opening it says best
        return True


def _answers(model: str) -> bool:
    """Whether the hub answers at once: offline, the library would ask again and again."""
    try:
        gguf = gguf_of(model)
        HfApi().model_info(gguf.place if gguf is not None else model, timeout=PATIENCE)
    except (RepositoryNotFoundError, HFValidationError):
        return True  # that it is no model, opening it says best
    except Exception:  # no network, no answer, a mirror in trouble: there is a type for each
        return False
    return True
