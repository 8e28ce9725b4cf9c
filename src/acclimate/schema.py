"""The schema of a run configuration: every key, its default, its meaning."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from acclimate.errors import listed, nearest
from acclimate.explain import Places

FORMAT_VERSION = 1
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Of runs and sources: they become file names."""

CREDENTIAL = re.compile(r"(?<=://)(?:[^/\s]*@|[^@\s]*:[^@\s]*@)|(?<=[?&#])[^?&#=/*\s]+=[^&#\s'\"]*")
"""What may be a secret in a URL: ``user@`` or ``key:secret@`` before the host, and what a query says."""

TextFormat = Literal["auto", "text", "messages", "prompt_completion"]
FIELDS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
"""Format -> the fields a record of that format has. ``auto`` takes the first format whose fields are all there."""

HUB_ID = r"\w[\w.-]*/[\w.-]+"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        accepted = str(cls.model_fields[info.field_name or ""].annotation)
        if isinstance(value, bool) and "bool" not in accepted and ("int" in accepted or "float" in accepted):
            raise ValueError(f"{str(value).lower()} is no number")
        return value


class ModelSection(Section):
    """Where the base model comes from."""

    path: str = Field(min_length=1, description="hub id, local folder, or a .gguf file")
    revision: str | None = Field(None, description="hub revision")
    trust_remote_code: bool = Field(False, description="run code that ships with the model")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="dtype of the weights in forward and backward; auto times one step of each on a CPU"
    )
    quantization: Literal["nf4"] | None = Field(
        None, description="nf4, with lora: keep the frozen base in 4 bits (QLoRA); extra `qlora`"
    )
    attention: Literal["sdpa", "eager", "flash_attention_2", "flex_attention"] = Field("sdpa")
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1")


class LoraSection(Section):
    """A PEFT LoRA adapter. Leave the section out for full tuning."""

    rank: int = Field(16, ge=1, le=8192)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = Field(
        "all-linear", min_length=1, description="as in PEFT; all-linear leaves the head alone"
    )
    rslora: bool = Field(False, description="rank-stabilised scaling alpha / sqrt(rank)")


class SourceSection(Section):
    """One corpus."""

    path: str | list[str] = Field(
        min_length=1,
        description="file, folder, glob or URL of .txt, .md, .jsonl, .csv, .tsv, .parquet; a folder written by "
        "save_to_disk; a hub id; or a list of them",
    )
    split: str | None = Field(None, min_length=1, description="split of a hub id or of a saved DatasetDict")
    subset: str | None = Field(None, min_length=1, description="configuration of a hub id")
    revision: str | None = Field(None, min_length=1, description="revision of a hub id; default: the newest")
    share: float | None = Field(
        None, gt=0, le=1, description="part of all trained tokens; shares are normalised over used sources"
    )
    route: str | None = Field(None, description="whose loss terms its tokens get; default: the source's own name")
    terms: dict[str, float] | None = Field(
        None, description="loss terms and weights of this source's tokens, in place of the method's"
    )
    format: TextFormat = "auto"
    fields: dict[Literal["text", "messages", "prompt", "completion"], str] | None = Field(
        None, min_length=1, description="names that these fields have in the source's records: {text: body}"
    )
    on_bad_row: Literal["fail", "skip"] = Field(
        "fail", description="skip leaves out rows that are no document, and counts them by reason"
    )
    max_bad_rows: int = Field(100, ge=1, description="on_bad_row: skip fails beyond this many")
    routes: dict[str, str] | None = Field(
        None,
        description="chat rows: route of each role's tokens; roles not named are context only (default: assistant)",
    )
    thinking: Literal["on", "off", "mixed"] | None = Field(None, description="mode of a hybrid model's chat template")
    append_eos: bool = Field(True, description="end plain documents with the tokenizer's eos token")
    heldout: float | int = Field(0.05, ge=0, description="documents held out: a share below 1, or a count")
    max_documents: int | None = Field(None, ge=1, description="use a seeded subsample of this many documents")
    role: Literal["domain", "general", "chat"] | None = Field(
        None, description="how reports read this source; default: by route and format"
    )

    @field_validator("path", mode="before")
    @classmethod
    def _no_credentials(cls, value: Any) -> Any:
        # What stands here is written to config.yaml and printed in errors, so a secret is not let in at all.
        for path in value if isinstance(value, list) else [value]:
            urls = (
                ["".join(url.split()) for url in (path, unquote(path)) if "://" in url] if isinstance(path, str) else []
            )
            if any(CREDENTIAL.search(url) for url in urls):
                raise ValueError(
                    "a URL with a user, password or query may hold a secret, which run folders would keep; give the "
                    "bare URL and let its driver find credentials: in environment variables (AWS_ACCESS_KEY_ID, "
                    "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, FSSPEC_S3_KEY) or in ~/.config/fsspec/"
                )
        return value

    @model_validator(mode="after")
    def _fields_of_one_format(self) -> SourceSection:
        if self.fields is not None:
            formats = [kind for kind, names in FIELDS.items() if set(names) & set(self.fields)]
            if len(formats) > 1:
                raise ValueError(f"fields names fields of {' and '.join(formats)}; a source has records of one format")
            if self.format not in ("auto", formats[0]):
                raise ValueError(f"fields names fields of {formats[0]}, but format is {self.format}; keep one")
        if self.on_bad_row == "fail" and self.max_bad_rows != 100:
            raise ValueError("max_bad_rows has no effect on on_bad_row: fail; it belongs to skip")
        return self

    @field_validator("thinking", mode="before")
    @classmethod
    def _yaml_reads_on_as_true(cls, value: Any) -> Any:
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("terms")
    @classmethod
    def _terms_not_empty(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is not None and (not value or any(weight <= 0 for weight in value.values())):
            raise ValueError("needs at least one loss term, each with a weight above 0")
        return value

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path

    def may_be_hub_id(self, path: str) -> bool:
        return re.fullmatch(HUB_ID, path) is not None and not os.path.exists(path)

    def is_hub_id(self, path: str) -> bool:
        """Only where a ``split`` asks for it: a local path with a slip of the pen never reaches the network."""
        return self.split is not None and self.may_be_hub_id(path)


class ObjectiveSection(Section):
    """How nats per token become one loss."""

    normalise: Literal["term", "all"] = Field(
        "term", description="term: each term by its own count of trained tokens; all: one count for all terms"
    )
    average: Literal["token", "sequence"] = Field(
        "token", description="token: every token weighs the same; sequence: every document weighs the same"
    )
    logits_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16 rounds logits: a KL gradient that is wrong near the base (docs/performance.md)"
    )
    chunk_tokens: int = Field(
        256, ge=1, description="tokens whose logits exist at one time, in memory: 4 bytes x tokens x vocabulary"
    )


class OptimizerSection(Section):
    """AdamW, with float32 master weights where the model is bfloat16."""

    learning_rate: float = Field(5e-5, gt=0, le=1, description="the peak; full tuning wants 1e-5 to 5e-5, LoRA 2e-4")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    max_grad_norm: float | None = Field(1.0, gt=0, description="clip the gradient's 2-norm; null to leave it alone")

    @field_validator("betas")
    @classmethod
    def _betas(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("needs two numbers in [0, 1)")
        return value


class ScheduleSection(Section):
    """Learning rate over steps: linear warmup, then the named shape."""

    type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    warmup_steps: int | None = Field(None, ge=0)
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="used when warmup_steps is not given")
    min_ratio: float = Field(0.0, ge=0, le=1, description="final learning rate over the peak")
    decay_ratio: float = Field(0.2, gt=0, le=1, description="wsd: part of all steps spent in the final decay")

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
    epochs: float | None = Field(None, gt=0, description="passes over the counted source's training documents")
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
    cache_dir: str = Field(
        "~/.cache/acclimate", min_length=1, description="tokenised corpora, keyed by content and settings"
    )


class TrainingSection(Section):
    """The loop."""

    micro_batch_size: int = Field(4, ge=1, description="packed rows in one forward")
    gradient_checkpointing: bool = False
    eval_steps: int | None = Field(None, ge=1, description="measure held-out text every so many steps")
    save_steps: int | None = Field(
        None,
        ge=1,
        description="checkpoint every so many steps and at the last; null keeps no checkpoint to resume from",
    )
    keep_last: int = Field(2, ge=1, description="checkpoints kept besides the best")
    final: Literal["last", "best"] = Field("last", description="which weights become the run's model/")

    @model_validator(mode="after")
    def _best_is_measured(self) -> TrainingSection:
        if self.final == "best" and self.eval_steps is None:
            raise ValueError("final: best needs eval_steps, which measures what best is")
        if self.save_steps is None and self.keep_last != 2:
            raise ValueError("keep_last has no effect without save_steps, which keeps checkpoints")
        return self


class ParallelSection(Section):
    """How several processes share the work (torchrun, or --nproc); without effect in a single one."""

    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="ddp: every process holds the model; fsdp: weights and optimizer state are spread (FSDP2)"
    )
    cpu_offload: bool = Field(False, description="fsdp: keep weights and optimizer state in CPU memory between uses")
    reshard_after_forward: bool = Field(
        True, description="fsdp: gather a layer's weights again for its backward; false is faster and takes more memory"
    )

    @model_validator(mode="after")
    def _options_of_fsdp(self) -> ParallelSection:
        if self.strategy == "ddp" and (self.cpu_offload or not self.reshard_after_forward):
            given = "cpu_offload" if self.cpu_offload else "reshard_after_forward"
            raise ValueError(f"{given} has no effect with strategy: ddp; set strategy: fsdp or leave it out")
        return self


class EvaluationSection(Section):
    """What is measured on held-out documents."""

    documents: int | None = Field(None, ge=1, description="at most this many held-out documents per source")
    training_documents: int = Field(32, ge=1, description="of these, how many during training (every eval_steps)")
    generations: int = Field(4, ge=0, description="greedy answers shown side by side")
    max_new_tokens: int = Field(64, ge=1)
    overlap_ngram: int = Field(13, ge=1, description="words in an n-gram of the train/held-out overlap count")


class RunConfig(Section):
    """One run."""

    version: Literal[1] = 1
    name: str = Field("run", pattern=f"^{NAME}$", description="letters, digits, '.', '_' and '-'")
    output_dir: str = Field("runs", min_length=1, description="the run folder is output_dir/name")
    seed: int = Field(0, ge=0, lt=2**31, description="order of documents, LoRA initialisation, dropout")
    model: ModelSection
    lora: LoraSection | None = None
    sources: dict[str, SourceSection] = Field(min_length=1)
    method: str | dict[str, Any] | list[str | dict[str, Any]] = "mol"
    objective: ObjectiveSection = ObjectiveSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    budget: BudgetSection
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()
    parallel: ParallelSection = ParallelSection()
    evaluation: EvaluationSection = EvaluationSection()
    report_to: list[Literal["tensorboard"]] = Field(default_factory=list)

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
        if self.model.path.endswith(".gguf"):
            raise ValueError(
                f"model.quantization: '{kind}' quantises whole weights, but '{self.model.path}' is a quantised GGUF "
                "file; give the folder or hub id of the model"
            )
        if self.parallel.strategy == "fsdp":
            raise ValueError("parallel.strategy: fsdp does not spread quantised weights; use ddp")
        return self

    @model_validator(mode="after")
    def _budget_counts_a_source(self) -> RunConfig:
        known = [*self.sources, "all"]
        if self.budget.count not in known:
            raise ValueError(
                f"budget.count is '{self.budget.count}', which is no source; accepted: {listed(known)}."
                + nearest(self.budget.count, known)
            )
        return self

    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where its settings were written."""
        return self._places

    def written_at(self, places: Places) -> None:
        self._places = places

    @property
    def run_dir(self) -> Path:
        return Path(os.path.expanduser(self.output_dir)) / self.name
