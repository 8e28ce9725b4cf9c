"""A checkpoint as transformers opens it; every failure becomes one sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from acclimate.config.schema import ModelSection
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.folder import explain_folder
from acclimate.types.errors import ModelError, reason

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def from_pretrained(factory: Any, section: ModelSection, **options: Any) -> Any:
    path = Path(os.path.expanduser(section.path))
    location: str | None = section.path
    if (gguf := gguf_of(section.path)) is not None:
        location, options["gguf_file"] = gguf.place, gguf.file
        if not gguf.local:
            options["revision"] = section.revision
    elif "state_dict" in options:
        location = None
    elif os.path.isdir(path):
        if not (path / "config.json").is_file():
            found = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "nothing"
            raise ModelError(
                f"model.path: the folder '{section.path}' holds no config.json (it holds {found}); give a folder "
                f"written by save_pretrained, a .gguf file, or a hub id.{_of_a_run(path)}"
            )
        location = str(path)
    elif not HUB_ID.fullmatch(section.path) or os.path.isfile(path):
        raise ModelError(
            f"model.path: '{section.path}' is no model folder or .gguf file; give a folder written by "
            "save_pretrained, a .gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct'."
        )
    else:
        options["revision"] = section.revision
    local = "revision" not in options
    try:
        return factory.from_pretrained(
            location, trust_remote_code=section.trust_remote_code, local_files_only=local, **options
        )
    except Exception as error:  # transformers raises many types; each becomes one sentence with its first line
        text = str(error)
        if "trust_remote_code" in text:
            raise ModelError(
                f"model.path: '{section.path}' brings its own code, which is not run unless you ask for it: "
                "read that code, then set model.trust_remote_code: true."
            ) from None
        check_attention(section, error)
        check_library(section, error)
        if gguf is None and os.path.isdir(path):
            explain_folder(path, tokenizer=factory is AutoTokenizer)
        if not local and "model.safetensors" in text:
            raise ModelError(
                f"model.path: '{section.path}' has no safetensors on the Hub, only pickles, which can run code when "
                "they are loaded, so acclimate never does; give a revision or a copy that has them."
            ) from None
        if gguf is not None and gguf.local and "GGUF" not in text:  # the reader's own errors are of its bytes
            raise ModelError(
                f"model.path: '{section.path}' is no whole GGUF file ({reason(error)}); download or copy it again."
            ) from None
        place = f"there is no folder '{section.path}' in {os.getcwd()}, and as a hub id it"
        if local:
            place = f"'{section.path}'"
        raise ModelError(f"model.path: {place} could not be loaded: {reason(error)}") from None


def _of_a_run(path: Path) -> str:
    """What to do with an adapter or a run folder, which are no model by themselves."""
    if not any((path / name).is_file() for name in ("adapter_config.json", "provenance.json")):
        return ""
    return " A run becomes a model to begin with by `acclimate export RUN --output FOLDER --merge`."


def check_attention(section: ModelSection, error: Exception) -> None:
    """A family that has not what ``model.attention`` names, which is no fault of its files."""
    if "does not support an attention implementation" in str(error) or "does not support Flash" in str(error):
        raise ModelError(
            f"model.attention: transformers has no '{section.attention}' for this family of models; leave it out, and "
            "the fastest that is right is taken."
        ) from None


def check_library(section: ModelSection, error: Exception) -> None:
    """A part of the model that transformers builds with a library that is not installed."""
    wanted = re.search(r"requires the .*?pip install ([\w.\[\]-]+)", str(error), re.DOTALL)
    if isinstance(error, ImportError) and wanted:
        raise ModelError(
            f"model.path: '{section.path}' is loaded whole, and a part of it needs a library that is not installed: "
            f"run `pip install {wanted[1]}`. ({reason(error)})"
        ) from None
