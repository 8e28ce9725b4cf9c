"""The schema of a run configuration: every key, its default, its meaning."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from acclimate.config.apart import Apart
from acclimate.config.chosen.mixture import MixtureSection, mixing
from acclimate.config.chosen.optimizer import OptimizerSection
from acclimate.config.chosen.parallel import ParallelSection
from acclimate.config.chosen.retain import RetainSection, retaining
from acclimate.config.chosen.search import SearchSection, searching
from acclimate.config.chosen.training import TrainingSection
from acclimate.config.evaluation_schema import EvaluationSection
from acclimate.config.lora_schema import LoraSection
from acclimate.config.new_tokens import NewTokens
from acclimate.config.settings_file import SettingsFile
from acclimate.config.source_schema import Section, SourceSection
from acclimate.types.errors import listed, nearest

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Of runs and sources: they become file names."""


class ModelSection(Section):
    """Where the base model comes from."""

    path: Annotated[str, Apart.INPUT] = Field(
        min_length=1, description="hub id, local folder, or a .gguf file, also org/repository/file.gguf"
    )
    revision: str | None = Field(None, description="hub revision")
    base: Annotated[str | None, Apart.INPUT] = Field(
        None,
        min_length=1,
        description="what KL and drift are measured against, where training starts from another model; null: `path`",
    )
    base_revision: str | None = Field(None, description="hub revision of `base`")
    add_tokens: NewTokens = Field([], description="new tokens, each as a text spells it (docs/howto/running.md)")
    trust_remote_code: bool = Field(False, description="run code that ships with the model")
    train: list[str] = Field(
        [],
        description="names of the parameters that are trained, with * and ? as in file names; a module's name means "
        "all in it; none: all (docs/howto/memory.md)",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="dtype of the weights in forward and backward; auto times one step of each on a CPU"
    )
    dequantize: bool = Field(
        False, description="multiply the weights of a quantised checkpoint (FP8, MXFP4, GPTQ, AWQ ...) out when loading"
    )
    quantization: Literal["nf4"] | None = Field(
        None, description="nf4, with lora: keep the frozen base in 4 bits (QLoRA); extra `qlora`"
    )
    attention: Literal["auto", "varlen", "sdpa", "eager", "flash_attention_2", "flex_attention"] = Field(
        "auto",
        description="auto: of varlen (CUDA), sdpa and eager the fastest that computes packed documents as each by "
        "itself",
    )
    device: Annotated[str, Apart.WORK] = Field("auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1")

    @model_validator(mode="after")
    def _base_is_another(self) -> ModelSection:
        if self.base_revision is not None and self.base is None:
            raise ValueError("base_revision has no effect without base; leave it out")
        if self.base == self.path and self.base_revision == self.revision:  # as if it were left out
            vars(self).update(base=None, base_revision=None)
        return self

    @property
    def of_base(self) -> ModelSection:
        """The base by itself, loaded as ``path`` is, before anything is changed in it."""
        if self.base is None:
            return self
        own: dict[str, Any] = {"path": self.base, "revision": self.base_revision, "base": None, "base_revision": None}
        return self.model_copy(update=own | {"add_tokens": []})


class ObjectiveSection(Section):
    """How nats per token become one loss."""

    normalise: Literal["term", "all"] = Field(
        "term", description="term: each term by its own count of trained tokens; all: one count for all terms"
    )
    average: Literal["token", "sequence"] = Field(
        "token", description="token: every token weighs the same; sequence: every document weighs the same"
    )
    router_aux_loss: float | None = Field(
        None,
        ge=0,
        description="coefficient of a mixture of experts' load balancing loss, where its router learns; null: as the "
        "model's config.json has it (output_router_logits)",
    )
    logits_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="bfloat16 rounds logits: a KL gradient that is wrong near the base (docs/howto/performance.md)",
    )
    chunk_tokens: Annotated[Annotated[int, Field(ge=1)] | Literal["auto"], Apart.WORK] = Field(
        "auto",
        description="tokens whose logits exist at one time, in memory: 4 bytes x tokens x vocabulary; auto: 256 on a "
        "CPU, on a GPU up to 1024 with a reference and 2048 without, by vocabulary and free memory",
    )


class ScheduleSection(Section):
    """Learning rate over steps: linear warmup, then the named shape."""

    type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int | None = Field(None, ge=0)
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="used when warmup_steps is not given")
    min_ratio: float = Field(0.0, ge=0, le=1, description="final learning rate over the peak")
    decay_ratio: float = Field(
        0.2, gt=0, le=1, description="wsd: part of all steps spent in the final decay, of those that warmup leaves"
    )

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> ScheduleSection:
        if self.type != "wsd" and self.decay_ratio != 0.2:
            raise ValueError(f"decay_ratio has no effect on type {self.type}; it belongs to wsd")
        if self.type == "constant" and self.min_ratio != 0:
            raise ValueError("min_ratio has no effect on type constant, which does not decay")
        if self.warmup_steps is not None and self.warmup_ratio not in (0, 0.05):
            raise ValueError("warmup_steps and warmup_ratio are both given; keep one")
        return self


class BudgetSection(Section):
    """How long to train. Tokens are *trained* tokens (those with a label) of ``count``."""

    count: str = Field("domain", description="the source whose trained tokens are counted, or 'all'")
    tokens: int | None = Field(None, ge=1, le=2**53)
    steps: int | None = Field(None, ge=1, le=2**53)
    epochs: float | None = Field(
        None,
        gt=0,
        description="passes over the counted source's training documents, in even steps of at most batch_tokens",
    )
    batch_tokens: int = Field(2048, ge=1, description="trained tokens of `count` per optimizer step")

    @model_validator(mode="after")
    def _one_unit(self) -> BudgetSection:
        given = [name for name in ("tokens", "steps", "epochs") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of tokens, steps or epochs, got {' and '.join(given) or 'none'}")
        return self


class DataSection(Section):
    """Packing and caching."""

    sequence_length: int = Field(512, ge=2, description="positions in a packed row")
    split_seed: int = Field(
        0, ge=0, description="chooses held-out documents and subsamples; apart from `seed`, so that seeds compare"
    )
    split: Literal["test", "validation"] = Field(
        "test",
        description="validation: hold out as many documents again, measure these, and use those of test for nothing: "
        "for choosing settings",
    )
    overlap: Literal["warn", "drop"] = Field(
        "warn",
        description="held-out documents that share evaluation.overlap_ngram words in a row with training text: counted "
        "and measured apart, or left out of the measured set",
    )
    cache_dir: Annotated[str, Apart.PLACE] = Field(
        "~/.cache/acclimate", min_length=1, description="prepared corpora, keyed by content and settings"
    )


class RunConfig(SettingsFile):
    """One run."""

    name: Annotated[str, Apart.PLACE] = Field(
        "run", pattern=f"^{NAME}$", description="letters, digits, '.', '_' and '-'"
    )
    output_dir: Annotated[str, Apart.PLACE] = Field(
        "runs", min_length=1, description="the run folder is output_dir/name"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="order of documents, LoRA initialisation, dropout")
    model: ModelSection
    lora: LoraSection | None = None
    sources: dict[str, SourceSection] = Field(min_length=1)
    mixture: MixtureSection | None = None
    method: str | dict[str, Any] | list[str | dict[str, Any]] = Field(
        "mol", description="a name, a section of name and settings, or a list of these"
    )
    objective: ObjectiveSection = ObjectiveSection()
    optimizer: Annotated[OptimizerSection, Apart.STEPS] = OptimizerSection()
    schedule: Annotated[ScheduleSection, Apart.STEPS] = ScheduleSection()
    budget: BudgetSection
    data: DataSection = DataSection()
    training: Annotated[TrainingSection, Apart.LOOP] = TrainingSection()
    retain: Annotated[RetainSection | None, Apart.LOOP] = None
    search: SearchSection | None = None
    parallel: Annotated[ParallelSection, Apart.WORK] = ParallelSection()
    evaluation: Annotated[EvaluationSection, Apart.JUDGED] = EvaluationSection()
    report_to: Annotated[list[Literal["wandb", "mlflow", "trackio", "tensorboard"]], Apart.PLACE] = Field(
        default_factory=list, description="trackers, each an extra of its name (docs/howto/trackers.md); none: []"
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_tracker(cls, value: Any) -> Any:
        """A single name, or none, as transformers takes it."""
        return [] if value == "none" else [value] if isinstance(value, str) else value

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, SourceSection]) -> dict[str, SourceSection]:
        for name in value:
            if not re.fullmatch(NAME, name) or name == "all":
                raise ValueError(f"'{name}' is no name for a source: letters, digits, '.', '_' and '-', and not 'all'")
        return value

    @model_validator(mode="after")
    def _quantised_weights_stay_as_they_are(self) -> RunConfig:
        if (kind := self.model.quantization) is None:
            return self
        if self.lora is None:
            raise ValueError(f"model.quantization: '{kind}' freezes the base, so only an adapter can learn; add lora")
        for path in (self.model.path, self.model.base or ""):
            if path.endswith(".gguf"):
                raise ValueError(
                    f"model.quantization: '{kind}' quantises whole weights, but '{path}' is a quantised GGUF file; "
                    "give the folder or hub id of the model"
                )
        if self.parallel.strategy == "fsdp":
            raise ValueError("parallel.strategy: fsdp does not spread quantised weights; use ddp")
        return self

    @model_validator(mode="after")
    def _what_moves_weights(self) -> RunConfig:
        name, spread = self.optimizer.name, self.parallel.strategy == "fsdp"
        if self.model.train and self.lora is not None:
            raise ValueError(
                "model.train: has no effect beside lora, whose base is frozen; lora.target_modules names what learns"
            )
        if name == "muon" and self.lora is not None:
            raise ValueError("optimizer.name: muon is for whole hidden matrices, not for lora's factors; use adamw")
        if name != "adamw" and spread:
            raise ValueError(f"optimizer.name: {name} does not take spread weights; use adamw with fsdp, or ddp")
        return self

    @model_validator(mode="after")
    def _stacks_are_not_spread(self) -> RunConfig:
        if self.lora is not None and self.lora.experts and self.parallel.strategy == "fsdp":
            raise ValueError("lora.experts: fsdp does not spread a stack of experts with an adapter; use ddp")
        return self

    @model_validator(mode="after")
    def _budget_counts_a_source(self) -> RunConfig:
        known = [*self.sources, "all"]
        if self.budget.count not in known:
            unsaid = "" if "count" in self.budget.model_fields_set else " where it is left out"
            raise ValueError(
                f"budget.count is '{self.budget.count}'{unsaid}, which is no source; accepted: {listed(known)}."
                + nearest(self.budget.count, known)
            )
        counted = self.sources if self.budget.count == "all" else [self.budget.count]
        streamed = [name for name in counted if self.sources[name].streaming]
        if streamed and self.budget.epochs is not None:
            raise ValueError(
                f"budget.epochs: how long an epoch of '{streamed[0]}' is cannot be known, since it is streamed; give "
                "budget.tokens or budget.steps."
            )
        return self

    @model_validator(mode="after")
    def _best_is_chosen_by_documents_of_its_own(self) -> RunConfig:
        if self.training.final == "best" and not self.evaluation.validation_documents:
            raise ValueError(
                "training.final: best chooses weights by held-out documents that no report uses; set "
                "evaluation.validation_documents, or final: last"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _a_budget_is_measured(cls, value: Any) -> Any:
        """So often as ``auto`` has it, where nobody says how often."""
        if not isinstance(value, dict) or value.get("retain") is None:
            return value
        training = value.get("training") or {}
        if not isinstance(training, dict) or training.get("eval_steps") is not None:
            return value
        return value | {"training": training | {"eval_steps": "auto"}}

    _retaining = model_validator(mode="after")(retaining)
    _searching = model_validator(mode="after")(searching)
    _mixing = model_validator(mode="after")(mixing)

    @model_validator(mode="after")
    def _a_budget_is_exceeded(self) -> RunConfig:
        if self.retain is None and (then := self.training.on_budget_exceeded) != "warn":
            raise ValueError(f"training.on_budget_exceeded: {then} has no effect without a budget; set retain")
        return self

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> RunConfig:
        if self.evaluation.overlap >= (length := self.heldout_length):
            raise ValueError(
                f"evaluation.overlap: {self.evaluation.overlap} tokens of context leave no room for a label in pieces "
                f"of {length}; accepted: 0 to {length - 1}, or more with a larger evaluation.sequence_length"
            )
        return self

    @model_validator(mode="after")
    def _streams_have_one_split(self) -> RunConfig:
        streamed = [name for name, section in self.sources.items() if section.streaming and section.heldout]
        if self.data.split == "validation" and streamed:
            raise ValueError(
                f"data.split: validation cannot be told apart in '{streamed[0]}', which is streamed; use split: test"
            )
        return self

    @property
    def heldout_length(self) -> int:
        """Positions in a row of held-out text."""
        return self.evaluation.sequence_length or self.data.sequence_length

    @property
    def run_dir(self) -> Path:
        return Path(os.path.expanduser(self.output_dir)) / self.name
