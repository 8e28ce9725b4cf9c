"""What `init` reads off files: the same as the structure says, without torch; and None where files do not tell."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from acclimate.model.checkpoint.outline import outline_of
from acclimate.verbs.draft import suited_to
from acclimate.verbs.draft.seen import ROWS, by_files
from acclimate.verbs.draft.structure import by_structure
from acclimate.verbs.memory import GIB, Room, gpu_of
from tests.fixtures.pico import pico_tokenizer, save_pico

SMALL: dict[str, Any] = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 300, "bos_token_id": None, "eos_token_id": 0,
}  # fmt: skip


def saved(model: Any, folder: Path, chat_template: str | None = None) -> Path:
    model.save_pretrained(folder)
    pico_tokenizer(chat_template).save_pretrained(folder)
    return folder


def change(folder: Path, **values: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_files_say_what_the_structure_says(family: str, tie: bool, tmp_path: Path) -> None:
    """Sizes, an adapter's size, positions, template and memory: of a family with biases, too."""
    if family == "llama":
        folder = save_pico(tmp_path, tie=tie)
    else:
        folder = saved(Qwen2ForCausalLM(Qwen2Config(**SMALL, tie_word_embeddings=tie)), tmp_path)
    outline = outline_of(str(folder))
    assert outline is not None
    gpu = gpu_of("24GB")
    closely = by_structure(str(folder), gpu)
    assert closely.takes == {"training.micro_batch_size": ROWS}  # the template's own
    found = by_files(outline, str(folder), gpu)
    assert found is not None
    assert replace(found, needs=0.0) == replace(closely, takes={}, needs=0.0)
    assert found.needs == pytest.approx(closely.needs, rel=0.1)  # by a formula, where the structure is run


def test_files_that_do_not_tell(tmp_path: Path) -> None:
    """Stacked or transposed weights, experts, code of one's own, an unknown family, a tie that is not said, damage."""
    narrow = {key: SMALL[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}
    gpt2 = saved(GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, **narrow)), tmp_path / "gpt2")
    mixture = MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2))
    assert outline_of(str(gpt2)) is None
    assert outline_of(str(saved(mixture, tmp_path / "mixtral"))) is None
    for number, values in enumerate(
        (
            {"auto_map": {"AutoConfig": "own.Config"}},
            {"model_type": "of_tomorrow"},
            {"tie_word_embeddings": None},
            {"quantization_config": {"quant_method": "fp8"}},
            {"max_position_embeddings": "many"},
            {"architectures": ["T5ForConditionalGeneration"]},
        )
    ):
        folder = save_pico(tmp_path / str(number))
        assert outline_of(str(folder)) is not None
        assert outline_of(str(change(folder, **values))) is None, values
    cut = save_pico(tmp_path / "cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    assert outline_of(str(cut.parent)) is None
    assert outline_of("somebody/not-here") is None
    assert outline_of("no: hub id") is None


def test_what_may_not_fit_is_looked_at_closely(pico_folder: Path) -> None:
    outline = outline_of(str(pico_folder))
    assert outline is not None
    assert by_files(outline, str(pico_folder), Room(GIB // 2, "on a GPU of 0.5GB", 0.9)) is None
    tight, _ = suited_to(str(pico_folder), Room(GIB // 2, "on a GPU of 0.5GB", 0.9))
    assert tight.checkpointing


def test_a_machine_with_a_gpu_is_looked_at_closely(pico_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outline = outline_of(str(pico_folder))
    assert outline is not None
    monkeypatch.setattr("acclimate.verbs.draft.seen.GPUS", (str(pico_folder),))
    assert by_files(outline, str(pico_folder), None) is None
    monkeypatch.setattr("acclimate.verbs.draft.seen.GPUS", (str(pico_folder / "none"),))
    assert by_files(outline, str(pico_folder), None) is not None


def test_init_loads_no_torch(pico_folder: Path, tmp_path: Path) -> None:
    """Importing it took 10 seconds of a command that reads two small files."""
    (tmp_path / "text").mkdir()
    for number in range(60):
        (tmp_path / "text" / f"{number}.txt").write_text(f"The nurse of ward {number} writes it down.")
    program = (
        "import sys\n"
        "from acclimate.cli import main\n"
        f"sys.argv = ['acclimate', 'init', 'a.yaml', '--model', {str(pico_folder)!r}, '--domain', 'text', '--policy',"
        " '--gpu', '24GB']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ended:\n"
        "    sys.exit(ended.code or 10 * ('torch' in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "a.gate.yaml").is_file()
