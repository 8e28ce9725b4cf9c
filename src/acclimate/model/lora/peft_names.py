"""What the installed PEFT makes of names: the layers that it refuses, turns into experts, or cannot read back.

Asked of PEFT itself, so that another version answers for itself. What these functions do not foresee is found when
the adapter is there: :func:`~acclimate.model.lora.keys.check_reached`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from acclimate.model.lora.matrices import Matrix


def refused(network: Any, found: Sequence[Matrix]) -> set[str]:
    """Names of matrices that LoRA raises an error at, whatever the rest is."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    check = getattr(LoraModel, "_check_target_module_compatiblity", lambda *asked: None)  # a version may have no such
    answers: dict[str, bool] = {}
    for matrix in found:
        if matrix.layer not in answers:
            try:
                check(None, LoraConfig(), network, matrix.layer)
                answers[matrix.layer] = False
            except ValueError:
                answers[matrix.layer] = True
    return {matrix.name for matrix in found if answers.get(matrix.layer)}


def renamed(network: Any, layers: Collection[str]) -> set[str]:
    """Those of the layers' last names that PEFT would take for experts or a router."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers as convert
    except ImportError:  # before 0.19 nothing is converted
        return set()
    found = set()
    for layer in layers:
        config = LoraConfig(target_modules=[layer])
        try:
            convert(config, network, None)
        except ValueError:  # half of a pair that lies in one parameter now
            found.add(layer)
            continue
        if set(config.target_modules or ()) != {layer}:
            found.add(layer)
    return found


def unreadable(network: Any, found: Sequence[Matrix]) -> set[str]:
    """Names of matrices whose factors PEFT would put elsewhere when it reads the adapter."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import (
            convert_peft_adapter_state_dict_for_transformers as convert,
        )
    except ImportError:
        return set()
    ends = ("lora_A.weight", "lora_B.weight")
    keys = {matrix.name: {f"base_model.model.{matrix.module}.{end}" for end in ends} for matrix in found}
    state = {key: torch.zeros(1, 1) for own in keys.values() for key in own}
    kept = convert(network, LoraConfig(), state).keys()
    return {name for name, own in keys.items() if not own <= kept}
