"""A random checkpoint of any family as the Hub would hold it, and text whose documents are longer than its windows."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from benchmarks.tiny.configuration import tiny_config
from benchmarks.tiny.population import families
from benchmarks.tiny.sizes import EOS, PAD, SPECIALS, VOCABULARY, WORDS

SOURCES = {
    "domain": ["kidney", "renal", "bone", "tissue", "skin", "cell", "acute", "lesion", "nerve"],
    "general": ["river", "city", "music", "train", "cloud", "game", "paper", "light", "stone"],
}
DOCUMENTS = 40
LONGEST = 21
"""Words of a document: up to 85 tokens, so that it fits a row."""
JITTER = 0.03
"""Added to all weights, so that no norm is 1 and no bias 0."""


def texts(source: str) -> list[str]:
    draw = random.Random(source)
    words = SOURCES[source]
    return [
        " ".join(draw.choice(words) for _ in range(draw.randint(3, LONGEST))) + f" {number}."
        for number in range(DOCUMENTS)
    ]


def write_inputs(folder: Path) -> Path:
    """Two sources and a byte-level tokenizer of :data:`VOCABULARY` ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        lines = [json.dumps({"text": text}) for text in texts(source)]
        (folder / f"{source}.jsonl").write_text("\n".join(lines) + "\n")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=sorted(alphabet), show_progress=False)
    backend.train_from_iterator([text for source in SOURCES for text in texts(source)], trainer)
    free = [f"<free{number}>" for number in range(VOCABULARY - WORDS - len(SPECIALS))]
    backend.add_special_tokens([*SPECIALS, *free])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=SPECIALS[0], bos_token=SPECIALS[3], pad_token=SPECIALS[4]
    )
    if (len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id) != (VOCABULARY, EOS, PAD):
        raise ValueError("the texts have too few words for so large a vocabulary")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


def build(family: str, inputs: Path, folder: Path) -> Any:
    """Writes the family's checkpoint and returns its network."""
    config = tiny_config(family)
    torch.manual_seed(0)
    kind = getattr(transformers, families()[family])
    network = kind._from_config(config) if hasattr(kind, "_from_config") else kind(config)
    network = network.float()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * JITTER)
    shutil.rmtree(folder, ignore_errors=True)
    embeddings, head = network.get_input_embeddings(), network.get_output_embeddings()
    if head is not None and head.weight is not embeddings.weight:  # the defaults of a family's parts may differ
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    network.save_pretrained(folder)
    type(config).from_pretrained(folder).save_pretrained(folder)  # in the form that transformers itself gives it
    shutil.copytree(inputs / "tokenizer", folder, dirs_exist_ok=True)
    if hasattr(config, "vision_config"):
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_resize": True}))
    return network
