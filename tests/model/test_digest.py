"""What identifies a base: its weights, or the hub's id and commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acclimate.config.schema import ModelSection
from acclimate.model import identity
from acclimate.model.identity import model_digest


def test_two_models_of_the_hub_are_two_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """They share a tokenizer, so nothing else tells prepared labels and statistics of one from the other's."""

    def cached(repository: str, name: str, revision: str) -> Any:
        commits = {("org/small", "main"): "1f0c", ("org/small", "v2"): "9a9a", ("org/large", "main"): "77de"}
        commit = commits.get((repository, revision))
        return commit and f"/cache/models--{repository.replace('/', '--')}/snapshots/{commit}/{name}"

    monkeypatch.setattr(identity, "try_to_load_from_cache", cached)
    assert model_digest(ModelSection(path="org/small")) == "hub:org/small@1f0c"
    assert model_digest(ModelSection(path="org/small", revision="v2")) == "hub:org/small@9a9a"
    assert model_digest(ModelSection(path="org/large")) == "hub:org/large@77de"
    assert model_digest(ModelSection(path="org/other", revision="v1")) == "hub:org/other@v1"


def test_local_weights_are_known_by_their_contents(pico_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    (weights,) = pico_folder.glob("*.safetensors")
    (moved / weights.name).write_bytes(weights.read_bytes())
    assert model_digest(ModelSection(path=str(moved))) == model_digest(ModelSection(path=str(pico_folder)))
    (moved / weights.name).write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert model_digest(ModelSection(path=str(moved))) != model_digest(ModelSection(path=str(pico_folder)))
