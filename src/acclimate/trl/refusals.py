"""What a trainer can be asked for that the objective cannot be right under."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acclimate.model.reference import AdapterOff
from acclimate.types.errors import UsageError

OWN_LOSSES = ("nll", "chunked_nll")
"""TRL's ``loss_type`` that stands for its ordinary loss, which is the objective's here."""
KEEPING = (True, False, "gaussian", "eva", "orthogonal")
"""``init_lora_weights`` that leave the base's weights as they are."""


def refuse(trainer: Any) -> None:
    """
    Raises:
        UsageError: the first setting under which loss, gradient or base would be others than the objective says.
    """
    for wrong in (*_losses(trainer), *_numbers(trainer), *spread(trainer.args, trainer.accelerator), *_rows(trainer)):
        raise UsageError(f"ObjectiveMixin: {wrong}")


def _losses(trainer: Any) -> Iterator[str]:
    args = trainer.args
    if trainer.compute_loss_func is not None:
        yield "compute_loss_func would be a second loss; leave it out, or make it a term of the objective."
    if args.label_smoothing_factor:
        yield f"label_smoothing_factor={args.label_smoothing_factor:g} has no effect on the objective's terms; set 0."
    if (loss := getattr(args, "loss_type", "nll")) not in OWN_LOSSES:
        yield f"loss_type='{loss}' would be a second loss; leave it out, or give cross_entropy a weighting."
    if getattr(trainer, "aux_loss_enabled", False):
        yield (
            "the model is a mixture of experts whose load balancing loss TRL adds, and the objective has no such term "
            "here; set router_aux_loss_coef=0.0, or train with `acclimate train` and objective.router_aux_loss."
        )
    if trainer.compute_metrics is not None or trainer.preprocess_logits_for_metrics is not None:
        yield (
            "compute_metrics needs the logits of whole rows, which the objective never makes; leave it out, and "
            "measure with ForgettingBudget or ForgettingPanel."
        )


def _numbers(trainer: Any) -> Iterator[str]:
    """What would compute student and base differently, so that a divergence of equal weights is not 0."""
    args = trainer.args
    if args.fp16:
        yield "fp16=True scales the loss, and a small divergence underflows in 16 bits; set bf16=True."
    if args.neftune_noise_alpha or getattr(trainer, "neftune_noise_alpha", None):
        yield "neftune_noise_alpha adds noise to the student alone, which its divergence from the base would see."
    if args.use_liger_kernel:
        yield (
            "use_liger_kernel replaces layers of the student alone when training starts, so that it would differ from "
            "its base at once; leave it out. The objective makes no whole logits either."
        )
    if args.torch_compile:
        yield "torch_compile=True hides the states that the output head is given; leave it out."


def spread(args: Any, accelerator: Any = None) -> Iterator[str]:
    """Ways to share a model among processes in which no process has whole weights or whole rows."""
    if args.n_gpu > 1:
        yield (
            f"{args.n_gpu} GPUs are visible to one process, which transformers trains with DataParallel: start one "
            "process a GPU with torchrun or `accelerate launch`, or set CUDA_VISIBLE_DEVICES."
        )
    if args.deepspeed or getattr(args, "deepspeed_plugin", None) is not None:
        yield "deepspeed spreads or scales gradients its own way; use DDP (torchrun), or `acclimate train --nproc`."
    if args.fsdp or getattr(accelerator, "is_fsdp2", False):
        yield "fsdp spreads the output head; use DDP (torchrun), or `acclimate train` with parallel.strategy: fsdp."
    plan = getattr(accelerator, "parallelism_config", None)
    for name in ("tp", "cp", "sp"):
        if plan is not None and getattr(plan, f"{name}_size", 1) > 1:
            yield f"parallelism_config: {name}_size={getattr(plan, f'{name}_size')} cuts rows or weights; use DDP."


def _rows(trainer: Any) -> Iterator[str]:
    args = trainer.args
    if getattr(args, "packing", False) and getattr(args, "packing_strategy", "bfd") == "wrapped":
        yield (
            "packing_strategy='wrapped' lets a document read its neighbours, so general text would be held to a base "
            "that has read domain text; set packing_strategy='bfd'."
        )
    if getattr(trainer, "_is_vision_dataset", False):
        yield "the data set holds images, and the objective reads token ids alone."
    if getattr(args, "accelerator_config", None) is not None and args.accelerator_config.split_batches:
        yield "split_batches=True cuts a batch between processes, and a packed row cannot be cut; set False."


def refuse_adapter(references: Any, peft: Any) -> None:
    """
    Raises:
        UsageError: a reference is the student with its adapter off, and the adapter changes the base itself.
    """
    off = next((name for name, one in references.items() if isinstance(one, AdapterOff)), None)
    if off is None or peft is None:
        return
    for config in peft.peft_config.values():
        kept = getattr(config, "init_lora_weights", True)
        if kept not in KEEPING:
            raise UsageError(
                f"ObjectiveMixin: init_lora_weights='{kept}' changes the base's own weights, so the student without "
                f"its adapter is not what references['{off}'] shall be; use frozen_copy of the network before it gets "
                "its adapter."
            )
        if getattr(config, "bias", "none") != "none":
            raise UsageError(
                f"ObjectiveMixin: bias='{config.bias}' trains biases of the base itself, so the student without its "
                f"adapter is not what references['{off}'] shall be; set bias='none', or use frozen_copy."
            )
