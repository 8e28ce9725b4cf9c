"""What the Hub is about to send."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import HfApi, constants, try_to_load_from_cache

from acclimate.config.schema import ModelSection
from acclimate.model.checkpoint.gguf import gguf_of


def downloads(section: ModelSection) -> list[str]:
    """A sentence on each model of the Hub that is not in the cache: its size, and where it goes.

    Without a network there is none; loading the model then says what is wrong.
    """
    models = {(one.path, one.revision) for one in (section, section.of_base)}
    return [said for path, revision in sorted(models, key=str) if (said := _download(path, revision)) is not None]


def _download(path: str, revision: str | None) -> str | None:
    if Path(os.path.expanduser(path)).exists() or gguf_of(path) is not None:
        return None
    try:
        if try_to_load_from_cache(path, "config.json", revision=revision) is not None:
            return None
        files = HfApi().model_info(path, revision=revision, files_metadata=True).siblings or []
    except Exception:  # of a name, of the network, of the Hub
        return None
    size = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors"))
    return f"downloading '{path}' from the Hub ({size / 1e9:.1f} GB) into {constants.HF_HUB_CACHE}"
