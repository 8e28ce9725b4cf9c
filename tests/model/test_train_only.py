"""``model.train``: layers that stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from acclimate.gradient.penalty import L2ToBase
from acclimate.model.whole.chosen import train_only
from acclimate.types.errors import ConfigError
from acclimate.verbs.run import train
from acclimate.verbs.validate import validate
from tests.fixtures.pico import pico_model
from tests.fixtures.runs import config, weights


def trained(patterns: list[str], tie: bool = True) -> set[str]:
    network = pico_model(tie=tie)
    train_only(network, patterns)
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_patterns_name_parameters_and_modules() -> None:
    everything = trained([])
    assert trained(["*"]) == everything
    assert trained(["model.norm"]) == {"model.norm.weight"}
    assert trained(["model.layers.1.mlp"]) == {
        f"model.layers.1.mlp.{part}_proj.weight" for part in ("gate", "up", "down")
    }
    assert trained(["model.layers.?.*norm"]) == {name for name in everything if "layernorm" in name}
    assert trained(["lm_head"]) == {"model.embed_tokens.weight"}  # a tied tensor by its other name
    assert trained(["lm_head"], tie=False) == {"lm_head.weight"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("model.layers.0.mpl", "Did you mean 'model.layers.0.mlp'?"),
        ("model.layer.*", "Did you mean 'model.layers"),
        ("nothing like it", "accepted are names like 'model.embed_tokens.weight'"),
    ],
)
def test_a_pattern_that_names_nothing(pattern: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_only(pico_model(), [pattern])
    assert f"model.train: '{pattern}' names no parameter" in str(caught.value)
    assert said in str(caught.value)


def test_new_tokens_must_be_learned(pico_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.train: leaves out the embeddings.*add 'model.embed_tokens.weight'"):
        train_only(pico_model(), ["model.norm"], new_tokens=True)


def test_what_is_not_named_stays_bitwise(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Under weight decay and a penalty, which see the trained tensors alone; validate counts them."""
    seen: set[str] = set()
    init = L2ToBase.init

    def watched(self: Any, params: Any) -> Any:
        seen.update(params)
        return init(self, params)

    changes: dict[str, Any] = {
        "model": {"train": ["model.layers.1"]},
        "optimizer": {"learning_rate": 3e-3, "weight_decay": 0.1},
        "method": ["sft", {"name": "l2", "weight": 0.1}],
        "budget": {"steps": 2, "batch_tokens": 128},
        "evaluation": {"generations": 0, "memorisation_documents": 0},
    }
    settings = config(pico_folder, corpora, tmp_path, **changes)
    found = validate(settings)
    whole = validate(config(pico_folder, corpora, tmp_path, **changes | {"model": {}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(L2ToBase, "init", watched)
        run_dir = train(settings).run_dir
    from safetensors.torch import load_file

    base, tuned = load_file(pico_folder / "model.safetensors"), weights(run_dir)
    changed = {name for name, tensor in base.items() if not torch.equal(tensor, tuned[name])}
    assert changed == seen == {name for name in base if name.startswith("model.layers.1.")}
    assert found.trained_parameters == sum(base[name].numel() for name in changed)
    assert found.memory.parts["optimizer"] == 8 * found.trained_parameters
    assert found.memory.parts["activations"] < whole.memory.parts["activations"]  # of the first layer none is kept


def test_beside_an_adapter_it_is_refused(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.train: has no effect beside lora"):
        config(pico_folder, corpora, tmp_path, model={"train": ["model.norm"]}, lora={"rank": 4})
