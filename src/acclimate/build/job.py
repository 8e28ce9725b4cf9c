"""A configuration on this machine: a job, made once, from which everything else of a run is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from acclimate.build.optimizer import check_optimizer
from acclimate.build.plan import anchored
from acclimate.config.chosen.parallel import ParallelSection
from acclimate.config.load import RunConfig
from acclimate.config.schema import ModelSection
from acclimate.config.source_schema import AUTO
from acclimate.data.corpora import Corpora
from acclimate.model.causal import CausalModel
from acclimate.model.checkpoint.gguf import gguf_of
from acclimate.model.checkpoint.quantisation import quantisation_of
from acclimate.model.checks.reach import reach_of
from acclimate.model.load import DTYPES, load_config_of, resolve_device, resolve_dtype, width_of
from acclimate.model.packing.attention import check_attention_here
from acclimate.parallel.world import SOLO, World
from acclimate.runs.beginning import as_begun
from acclimate.types.errors import ConfigError, listed


@dataclass(frozen=True)
class Job:
    """What is done, where, and by how many processes."""

    config: RunConfig
    """As config.yaml holds it: paths and stores that do not depend on the working folder, and a dtype."""
    device: torch.device
    world: World = SOLO

    def settled(self, model: CausalModel) -> Job:
        """With the attention that ``auto`` was for the loaded model, as a run that goes on will have it.

        ``varlen`` is what some machines have for it: the run stays ``auto``, and can be measured on another one.
        """
        if self.config.model.attention != "auto" or model.attention == "varlen":
            return self
        section = self.config.model.model_copy(update={"attention": model.attention})
        return replace(self, config=self.config.model_copy(update={"model": section}))

    def having_read(self, corpora: Corpora) -> Job:
        """With what ``pairs: auto`` was for sources that have pairs, as a run that goes on will read them."""
        read = {name: corpus.section.pairs for name, corpus in corpora.sources.items() if corpus.has_pairs}
        sources = {
            name: section.model_copy(update={"pairs": read[name]} if name in read and not section.is_self else {})
            for name, section in self.config.sources.items()
        }
        return replace(self, config=self.config.model_copy(update={"sources": sources}))

    def dealt(self, corpora: Corpora, shares: Mapping[str, float | dict[float, float]]) -> Job:
        """With what ``share: auto`` and ``heldout: auto`` came to, as a run that goes on will have them."""
        sources = {}
        for name, section in self.config.sources.items():
            share = shares.get(name, section.share) if section.share == AUTO else section.share
            came_to = {"share": share, "heldout": corpora.sources[name].reserved}
            sources[name] = section.model_copy(update=came_to)
        return replace(self, config=self.config.model_copy(update={"sources": sources}))

    def measured(self, every: int | None) -> Job:
        """With what ``eval_steps: auto`` came to, as a run that goes on will have it; None: nothing is measured."""
        if every is None:
            return self
        section = self.config.training.model_copy(update={"eval_steps": every})
        return replace(self, config=self.config.model_copy(update={"training": section}))


def resolve(config: RunConfig, world: World = SOLO, resume: bool = False, keep_missing: bool = False) -> Job:
    """Fills in what depends on the working folder, on how the run began, and on this machine.

    Args:
        world: all of it resolves alike.
        resume: what ``auto`` meant when the run began, it means still; of a trained run, what was chosen to be
            measured stays.
        keep_missing: leaves a source's path that is not there as it is, to be named so in the error about it.

    Raises:
        ConfigError: a setting has no effect here, or rows are longer than the model reaches.
    """
    with world.all_or_none():
        config = anchored(config, keep_missing)
        if resume:
            config = as_begun(config)
        _check_copies(config.parallel, world.size)
        device = resolve_device(config.model, world.local_rank)
        model = _checked(config, device)
    return Job(config.model_copy(update={"model": world.agree(model)}), device, world)  # of a dtype chosen by its speed


def reopened(config: RunConfig) -> Job:
    """Of a run folder's own configuration, in this one process."""
    return resolve(config.model_copy(update={"parallel": ParallelSection()}))  # that was for training


def _checked(config: RunConfig, device: torch.device) -> ModelSection:
    """The model's section with a dtype, once everything else is known to have an effect."""
    for key, source in (("revision", config.model), ("base_revision", config.model.of_base)):
        if source.revision is not None and os.path.exists(os.path.expanduser(source.path)):
            raise ConfigError(f"model.{key}: has no effect on a local model; leave it out.")
    if config.parallel.cpu_offload and device.type == "cpu":
        raise ConfigError(
            "parallel.cpu_offload: has no effect on a CPU, whose memory the weights are in; leave it out."
        )
    _check_quantised(config.model)
    shape = load_config_of(config.model).get_text_config()
    reach = reach_of(shape)
    for section, length in (("data", config.data.sequence_length), ("evaluation", config.heldout_length)):
        if length > reach.positions:
            raise ConfigError(f"{section}.sequence_length: {length} is more than the {reach}; lower it.")
    if config.objective.logits_dtype == "bfloat16" and config.model.dtype == "float32":
        raise ConfigError(
            "objective.logits_dtype: bfloat16 has no effect on a float32 model, whose logits are float32; leave it out."
        )
    dtype = DTYPES.get(config.model.dtype) or resolve_dtype(device, width_of(shape))
    check_attention_here(config.model, dtype, device)
    name = next(name for name, known in DTYPES.items() if known == dtype)
    check_optimizer(config.optimizer, name)
    return config.model.model_copy(update={"dtype": name})


def _check_copies(section: ParallelSection, ranks: int) -> None:
    """Of the model, each spread over equally many ranks (HSDP). A single process has no use for the section at all."""
    if section.replicate == 1 or ranks == 1:
        return
    if ranks % section.replicate or section.replicate == ranks:
        why = (
            "leaves each a whole copy, which is strategy: ddp" if section.replicate == ranks else "does not divide them"
        )
        accepted = [str(n) for n in range(1, ranks) if ranks % n == 0]
        raise ConfigError(
            f"parallel.replicate: {section.replicate} copies of the model in {ranks} processes: that {why}; accepted: "
            f"{listed(accepted)}."
        )


def _check_quantised(section: ModelSection) -> None:
    """Refuses settings about quantised weights that these checkpoints have no use for."""
    both = (section, section.of_base)
    ggufs = [one.path for one in both if gguf_of(one.path) is not None]
    if section.quantization is not None and ggufs:
        raise ConfigError(
            f"model.quantization: '{section.quantization}' quantises whole weights, but '{ggufs[0]}' is a quantised "
            "GGUF file; give the folder or hub id of the model."
        )
    others = [one for one in both if one.path not in ggufs]
    if section.dequantize and all(quantisation_of(load_config_of(one)) is None for one in others):
        why = "whose weights are not quantised" if others else "a GGUF file, whose weights are always multiplied out"
        raise ConfigError(f"model.dequantize: has no effect on '{section.path}', {why}; leave it out.")
