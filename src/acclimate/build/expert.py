"""A frozen model beside the student: a base apart from it, or an expert that a method or DoReMi names (also a run)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.build.online.watched import REFERENCE
from acclimate.build.plan import Composition
from acclimate.build.sharded import Sharding, opened
from acclimate.config.load import RunConfig, load_config
from acclimate.config.schema import ModelSection
from acclimate.disk.digest import sha256_of
from acclimate.model.causal import CausalModel
from acclimate.model.changes import Change, widened
from acclimate.model.checks.reach import reach_of
from acclimate.model.identity import model_digest, model_identity
from acclimate.model.load import all_changes, load_config_of, load_tokenizer, said_of
from acclimate.model.lora.adapter import load_adapter
from acclimate.runs.beginning import check_digests
from acclimate.runs.layout import Layout
from acclimate.types.errors import ModelError, RunError


@dataclass(frozen=True)
class Frozen:
    """What is loaded: whole weights, or a base and the adapter of a run."""

    name: str  # of the reference, which is also the method's setting
    key: str  # the setting that names it, in full
    path: str
    model: ModelSection
    adapter: Path | None
    changes: Sequence[Change]
    """Of the student: done to this model too, where it has not gone through them, so that the vocabularies agree."""

    def load(self, student: CausalModel, sharding: Sharding | None = None) -> CausalModel:
        """The model with the student's tokenizer, in its dtype and on its device, or spread as the student is.

        Raises:
            ModelError, RunError: it cannot be loaded, or the base under its adapter has changed.
        """
        section = self.model
        with said_of(self.key):
            if load_config_of(section).model_type != student.network.config.model_type:  # the key is of the student's
                section = section.model_copy(update={"attention": "auto"})
            if (folder := self.adapter) is not None:
                check_digests(folder.parent, {"model": model_identity(self.model)}, {})
            return opened(
                section,
                student.dtype,
                student.device,
                student.tokenizer,
                self.changes,
                (lambda network: load_adapter(network, folder)) if folder is not None else None,
                frozen=True,
                sharding=sharding,
            )

    def digest(self) -> str:
        """What identifies its weights."""
        own = model_digest(self.model, self.changes)
        return own if self.adapter is None else f"{own}+{sha256_of([self.adapter / 'adapter_model.safetensors'])}"

    def check(self, config: RunConfig, tokenizer: Any) -> None:
        """Refuses a model whose distributions are over other tokens than the student's.

        Raises:
            ModelError: its vocabulary or number of logits differs, or it has too few positions.
        """
        with said_of(self.key):
            shape = load_config_of(self.model).get_text_config()
            theirs = load_tokenizer(self.model, self.changes).get_vocab()
        if differing := sorted(theirs.items() ^ tokenizer.get_vocab().items()):
            raise ModelError(
                f"{self.key}: '{self.path}' has another vocabulary than '{config.model.path}' (first at "
                f"{differing[0][0]!r}), so its distributions are over other tokens; give one with the same tokenizer."
            )
        lengths = {"data": config.data.sequence_length}
        if self.name == "base":  # the one that is measured, too
            lengths["evaluation"] = config.heldout_length
        for section, length in lengths.items():
            if length > (reach := reach_of(shape)).positions:
                raise ModelError(
                    f"{section}.sequence_length: {length} is more than the {reach} ({self.key}: '{self.path}'); lower "
                    "it."
                )
        own = widened(load_config_of(config.model).get_text_config().vocab_size, self.changes)
        if (logits := widened(shape.vocab_size, self.changes)) != own:
            raise ModelError(
                f"{self.key}: '{self.path}' has {logits} logits, the model {own}; a divergence needs the same "
                "vocabulary."
            )


def base_apart(config: RunConfig) -> Frozen | None:
    """``model.base``, where training starts from another model."""
    path = config.model.base
    if path is None:
        return None
    return Frozen("base", "model.base", path, config.model.of_base, None, all_changes(config.model))


def experts(config: RunConfig, composition: Composition) -> list[Frozen]:
    """The models besides the base that terms compare with.

    Raises:
        RunError: one is a run that is not finished.
    """
    wanted = [name for name in composition.required_references if name != "base"]
    return [_expert(config, name, composition.references[name]) for name in wanted]


def _expert(config: RunConfig, name: str, path: str) -> Frozen:
    key = f"method.{name}" if name != REFERENCE else "mixture.doremi.reference"
    found = Layout(Path(os.path.expanduser(path)))
    run, whole, changes = None, path, all_changes(config.model)
    if found.config.is_file():
        if not found.model.is_dir():
            raise RunError(f"{key}: the run '{path}' has no model/ yet: it is not finished.")
        run, whole = load_config(found.config), str(found.model)
    if run is None or run.lora is None:
        own: dict[str, Any] = {"path": whole, "revision": None, "base": None, "base_revision": None}
        own |= {"quantization": None, "add_tokens": []}
        return Frozen(name, key, path, config.model.model_copy(update=own), None, changes)
    same = {"device": config.model.device, "attention": config.model.attention}
    return Frozen(name, key, path, run.model.model_copy(update=same), found.model, changes)
