"""Whether an adapter is what was asked for, and whole as it was read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from acclimate.model.lora.matrices import clean
from acclimate.types.errors import ModelError, RunError

SHOWN = 3
"""Names in a sentence."""


def adapted(network: Any) -> set[str]:
    """Names of the weights that have an adapter, as the base calls them."""
    return {
        f"{clean(name)}.{getattr(module, 'parameter_name', 'weight')}"
        for name, module in network.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "base_layer")
    }


def check_reached(network: Any, wanted: Collection[str]) -> None:
    """Holds what PEFT adapted against what it was asked for.

    Raises:
        ModelError: a matrix too few or too many.
    """
    found = adapted(network)
    if found != (wanted := set(wanted)):
        import peft

        raise ModelError(
            f"lora: PEFT {peft.__version__} adapts other matrices of this model than it is asked to: "
            f"{_few(wanted - found)} it leaves out, {_few(found - wanted)} it adds; name layers in lora.target_modules "
            "that it understands, or take another version."
        )


def check_keys(peft: Any, folder: Path) -> None:
    """Reads the adapter's tensors once more, and holds them against the places that there are for them.

    PEFT warns of places without a tensor, which it fills with a fresh adapter, and drops a tensor without a place.

    Raises:
        RunError: either, with names.
    """
    from peft.utils.save_and_load import set_peft_model_state_dict

    found = set_peft_model_state_dict(peft, load_file(folder / "adapter_model.safetensors"))
    prefix = getattr(peft.base_model, "prefix", None)
    missing = [key for key in found.missing_keys if prefix and prefix in key]
    unexpected = list(found.unexpected_keys)
    if missing or unexpected:
        said = [f"{len(missing)} missing ({_few(missing)})"] if missing else []
        said += [f"{len(unexpected)} without a place ({_few(unexpected)})"] if unexpected else []
        raise RunError(
            f"The adapter in '{folder}' does not fit this base, or is not whole: of its tensors {' and '.join(said)}. "
            "What was trained would be used only in part; give the base that it was trained on, with the version of "
            "PEFT that wrote it."
        )


def _few(names: Collection[str]) -> str:
    """``'a', 'b', 'c' and 4 more``; ``none``."""
    shown = [f"'{name}'" for name in sorted(names)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "none"
