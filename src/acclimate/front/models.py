"""A network of one's own as the student, and what it is compared with."""

from __future__ import annotations

from typing import Any

from torch import nn

from acclimate.model.causal import CausalModel
from acclimate.model.reference import AdapterOff, FrozenCopy
from acclimate.model.whole.noise import quieten
from acclimate.types.errors import UsageError


def causal(network: Any, tokenizer: Any) -> CausalModel:
    """The student: ``forward(batch)`` gives hidden states [B, T, D], ``head`` what turns them into logits.

    The network is wrapped, not copied. Its own dropout is switched off, so that a divergence from its frozen copy is 0
    before the first step; dropout of a LoRA adapter stays. A network that reads packed documents otherwise than each
    alone gets every document in a row of its own.

    Args:
        network: a Hugging Face causal language model, or a PEFT model of one.
        tokenizer: of the network.

    Raises:
        UsageError: it is neither, or an adapter that lives outside of the network (prompt tuning).
        ModelError: its logits are not its head's, or its documents can stand in no row.

    Example:
        >>> import acclimate as ac
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> student = ac.causal(
        ...     AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
        ... )
        >>> student.head.weight.shape == student.network.get_input_embeddings().weight.shape
        True
    """
    if isinstance(network, CausalModel):
        raise UsageError("causal: the network is a student already; use it as it is.")
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"causal: network is {_shown(network)}; accepted: a loaded model, as "
            "AutoModelForCausalLM.from_pretrained(name) gives it."
        )
    peft: Any = network if hasattr(network, "peft_config") and hasattr(network, "get_base_model") else None
    if peft is not None:
        if getattr(peft.active_peft_config, "is_prompt_learning", False):
            raise UsageError(
                "causal: the adapter is made of prompts, which stand before the text and not in the network; accepted: "
                "a PEFT model whose adapter is in the network's layers, such as LoRA."
            )
        network = peft.get_base_model()
    head_of = getattr(network, "get_output_embeddings", None)
    if head_of is None or head_of() is None:
        raise UsageError(
            f"causal: {type(network).__name__} has no head over a vocabulary; accepted: a causal language model, as "
            "AutoModelForCausalLM.from_pretrained(name) gives it."
        )
    adapters = [(module, module.p) for name, module in network.named_modules() if _is_of_adapter(name, module)]
    quieten(network)
    for module, rate in adapters:
        module.p = rate
    return CausalModel(network, tokenizer, peft)


def frozen_copy(student: CausalModel) -> FrozenCopy:
    """A second network with the student's weights as they are now, which never change. It costs its weights once.

    Call it before the first update. Given to ``Objective(references=...)`` without being called, it is called by
    ``Objective.bind``, as trainers do it.

    Args:
        student: what ``causal`` gave.
    """
    return FrozenCopy.of(_student("frozen_copy", student))


def adapter_off(student: CausalModel) -> AdapterOff:
    """The student without its adapter: the base, with no second network in memory.

    Args:
        student: what ``causal`` gave of a PEFT model whose adapter leaves the base's own weights alone.

    Raises:
        UsageError: the student has no adapter.
    """
    if _student("adapter_off", student).peft is None:
        raise UsageError("adapter_off: the student has no adapter, so it would be its own base; use frozen_copy.")
    return AdapterOff(student)


def _student(asked: str, student: Any) -> CausalModel:
    if not isinstance(student, CausalModel):
        raise UsageError(f"{asked}: student is {_shown(student)}; accepted: what acclimate.causal(network, ...) gives.")
    return student


def _is_of_adapter(name: str, module: nn.Module) -> bool:
    return "lora_dropout" in name and isinstance(getattr(module, "p", None), float)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
