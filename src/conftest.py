"""Where the examples of docstrings run: beside a tuned model, its base and texts, by the names that readers use."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

WORDS = ("river", "city", "kidney", "music", "train", "cell", "cloud", "bone")
OF_MODELS = ("acclimate.front.", "acclimate.trl.")
"""Modules whose examples open a model."""


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder: ``base/`` and its id on the Hub, ``tuned/``, ``domain.jsonl``, ``wiki.jsonl``, ``panel.yaml``."""
    from tests.fixtures.pico import save_pico

    folder, draw = tmp_path_factory.mktemp("reader"), random.Random(0)
    save_pico(folder / "base")
    save_pico(folder / "tuned", seed=1)
    (folder / "HuggingFaceTB").mkdir()
    (folder / "HuggingFaceTB" / "SmolLM2-135M").symlink_to(folder / "base")
    for name in ("domain", "wiki"):
        texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(30)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "panel.yaml").write_text("sets:\n  wiki: {kind: text, path: wiki.jsonl}\n")
    return folder


@pytest.fixture(autouse=True)
def _beside_models(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not request.node.name.startswith(OF_MODELS):
        yield
        return
    monkeypatch.chdir(request.getfixturevalue("reader"))
    monkeypatch.setenv("HOME", str(request.getfixturevalue("tmp_path")))  # the cache
    names = _names("HuggingFaceTB/SmolLM2-135M")
    namespace = request.getfixturevalue("doctest_namespace")
    namespace.update(names)
    yield
    for name in names:
        del namespace[name]


def _names(name: str) -> dict[str, Any]:
    """What an example may take as given: the base's name, its tokenizer, a student with gradients."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import acclimate as ac

    tokenizer = AutoTokenizer.from_pretrained(name)
    network = AutoModelForCausalLM.from_pretrained(name)
    network(**tokenizer("a river", return_tensors="pt")).logits.sum().backward()
    return {"name": name, "tokenizer": tokenizer, "student": ac.causal(network, tokenizer)}
