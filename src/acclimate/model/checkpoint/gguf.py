"""Where ``model.path`` names a GGUF file: by itself, alone in a folder, or in a repository of the Hub."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.types.errors import ModelError, listed

END = ".gguf"
ON_THE_HUB = re.compile(r"(\w[\w.-]*/\w[\w.-]*)/(.+\.gguf)")
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
PROJECTOR = "mmproj"
"""How llama.cpp names the file of a vision tower, which lies beside that of the language model."""


@dataclass(frozen=True)
class Gguf:
    """One file with weights, configuration and tokenizer.

    Args:
        place: the folder, or the hub id, that it lies in.
        file: its path from there.
        local: it is a folder.
    """

    place: str
    file: str
    local: bool


def gguf_of(path: str) -> Gguf | None:
    """The file that ``path`` means; None where it means no GGUF file.

    >>> gguf_of("ada/small-GGUF/small-Q4_K_M.gguf")
    Gguf(place='ada/small-GGUF', file='small-Q4_K_M.gguf', local=False)

    Raises:
        ModelError: it is not there, one of several, or a part of one.
    """
    given = Path(os.path.expanduser(path))
    if given.is_dir() and not (given / "config.json").is_file():
        names = sorted(file.name for file in given.glob(f"*{END}") if not file.name.startswith(PROJECTOR))
        if not names:
            return None
        if len(names) > 1 and not PART.search(names[0]):
            raise ModelError(
                f"model.path: the folder '{path}' holds {len(names)} GGUF files ({listed(names[:4])}); name one, as "
                f"'{given / names[0]}'."
            )
        found = Gguf(str(given), names[0], local=True)
    elif not path.endswith(END):
        return None
    elif given.is_file():
        found = Gguf(str(given.parent), given.name, local=True)
    elif not given.parent.is_dir() and (hub := ON_THE_HUB.fullmatch(path)):
        found = Gguf(hub.group(1), hub.group(2), local=False)
    else:
        raise ModelError(f"model.path: there is no GGUF file '{path}'.")
    if PART.search(found.file):
        raise ModelError(
            f"model.path: '{found.file}' is one part of a GGUF file that was split, which transformers cannot read; "
            "join the parts with llama.cpp's `llama-gguf-split --merge`."
        )
    return found


def unpacked_gguf() -> Any:
    """What makes transformers multiply out the weights of a GGUF file, also where it could compute with them packed;
    None for versions that know nothing else."""
    from transformers.utils import quantization_config

    known = getattr(quantization_config, "GgufConfig", None)
    return None if known is None else known(dequantize=True)
