"""||W - W0|| in provenance.json: what the weights that are saved say in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from safetensors.torch import load_file

from acclimate.kernels.quantised import dense
from acclimate.verbs.run import train
from tests.fixtures.pico import save_pico
from tests.fixtures.runs import config, weights

SHORT = {"steps": 3, "batch_tokens": 128}


def moved(run_dir: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run_dir / "provenance.json").read_text())["moved"]
    return found


def norm(tensors: Any) -> float:
    return float(sum(tensor.double().square().sum() for tensor in tensors)) ** 0.5


@pytest.fixture(scope="module")
def tuned(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(config(pico_folder, corpora, tmp_path_factory.mktemp("full"), method="sft", budget=SHORT)).run_dir


def test_full_tuning(tuned: Path, pico_folder: Path) -> None:
    base, end = load_file(pico_folder / "model.safetensors"), weights(tuned)
    found = moved(tuned)
    assert found["norm"] == pytest.approx(norm(end[name] - base[name] for name in base), rel=1e-5)
    assert found["of"] == pytest.approx(norm(base.values()), rel=1e-5)
    assert found["relative"] == pytest.approx(found["norm"] / found["of"])
    assert found["relative"] > 1e-3


def test_weights_that_went_half_way_back_moved_half_as_far(
    tuned: Path, pico_folder: Path, corpora: Path, tmp_path: Path
) -> None:
    half = train(config(pico_folder, corpora, tmp_path, method={"name": "wise", "alpha": 0.5}, budget=SHORT)).run_dir
    assert moved(half)["norm"] == pytest.approx(moved(tuned)["norm"] / 2, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_moves_by_its_product(dtype: str, pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(
        pico_folder,
        corpora,
        tmp_path,
        method="sft",
        budget=SHORT,
        lora={"rank": 4, "alpha": 12},
        model={"dtype": dtype},
    )
    end = weights(train(settings).run_dir)
    names = [name.removesuffix(".lora_A.weight") for name in end if name.endswith(".lora_A.weight")]
    products = [3 * end[f"{n}.lora_B.weight"].double() @ end[f"{n}.lora_A.weight"].double() for n in names]
    rounded = {"float32": 1e-5, "bfloat16": 0.01}[dtype]  # what is saved is rounded
    assert moved(settings.run_dir)["norm"] == pytest.approx(norm(products), rel=rounded)
    assert moved(settings.run_dir)["of"] == pytest.approx(
        norm(load_file(pico_folder / "model.safetensors").values()), rel=rounded
    )


def test_a_quantised_base_counts_as_what_it_stands_for(corpora: Path, tmp_path: Path) -> None:
    base = save_pico(tmp_path / "base")
    settings = config(
        base, corpora, tmp_path, method="sft", budget=SHORT, lora={"rank": 4}, model={"quantization": "nf4"}
    )
    found, plain = moved(train(settings).run_dir), norm(load_file(base / "model.safetensors").values())
    assert found["of"] == pytest.approx(plain, rel=0.02)
    assert found["of"] != pytest.approx(plain, rel=1e-6)
    assert 0 < found["relative"] < 1


def test_what_four_bits_stand_for() -> None:
    data, state = quantize_4bit(torch.randn(8, 64), quant_type="nf4")
    short = torch.nn.Parameter(data, requires_grad=False)
    assert dense(short) is short
    short.quant_state = state  # type: ignore[attr-defined]
    assert torch.equal(dense(short), dequantize_4bit(data, state))


def test_a_run_that_began_elsewhere_does_not_say(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    start = save_pico(tmp_path / "start", seed=1)
    model = {"path": str(start), "base": str(pico_folder)}
    run = train(config(start, corpora, tmp_path, method="sft", budget=SHORT, model=model)).run_dir
    assert "moved" not in json.loads((run / "provenance.json").read_text())
