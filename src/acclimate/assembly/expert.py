"""A frozen model beside the base that a method names: a run folder, a model folder or a hub id."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.config import RunConfig, load_config
from acclimate.digest import sha256_of
from acclimate.errors import ModelError, RunError
from acclimate.model.adapter import load_adapter
from acclimate.model.causal import CausalModel
from acclimate.model.load import load_config_of, load_network, load_tokenizer, model_digest, model_identity
from acclimate.model.reach import reach_of
from acclimate.plan import Composition
from acclimate.run_folder import check_digests
from acclimate.schema import ModelSection


@dataclass(frozen=True)
class Expert:
    """What is loaded: whole weights, or a base and the adapter of a run."""

    name: str  # of the reference, which is also the method's setting
    path: str
    model: ModelSection
    adapter: Path | None

    def load(self, student: CausalModel) -> CausalModel:
        """The expert with the student's tokenizer, in its dtype and on its device.

        Raises:
            ModelError, RunError: it cannot be loaded, or the base under its adapter has changed.
        """
        try:
            network = load_network(self.model, student.dtype, student.device)
        except ModelError as error:
            raise self._renamed(error) from None
        if self.adapter is not None:
            check_digests(self.adapter.parent, model_identity(self.model), {})
        return CausalModel(network, student.tokenizer, load_adapter(network, self.adapter) if self.adapter else None)

    def digest(self) -> str:
        """What identifies its weights."""
        own = model_digest(self.model)
        return own if self.adapter is None else f"{own}+{sha256_of([self.adapter / 'adapter_model.safetensors'])}"

    def check(self, config: RunConfig, tokenizer: Any) -> None:
        """Refuses an expert whose distributions are over other tokens than the student's.

        Raises:
            ModelError: its vocabulary or number of logits differs.
        """
        try:
            shape = load_config_of(self.model).get_text_config()
            theirs = load_tokenizer(self.model).get_vocab()
        except ModelError as error:
            raise self._renamed(error) from None
        if differing := sorted(theirs.items() ^ tokenizer.get_vocab().items()):
            raise ModelError(
                f"method.{self.name}: '{self.path}' has another vocabulary than '{config.model.path}' (first at "
                f"{differing[0][0]!r}), so its distributions are over other tokens; give one with the same tokenizer."
            )
        if config.data.sequence_length > (reach := reach_of(shape)).positions:
            raise ModelError(
                f"data.sequence_length: {config.data.sequence_length} is more than the {reach} "
                f"(method.{self.name}: '{self.path}'); lower it."
            )
        if (logits := shape.vocab_size) != (own := load_config_of(config.model).get_text_config().vocab_size):
            raise ModelError(
                f"method.{self.name}: '{self.path}' has {logits} logits, the model {own}; a divergence needs the same "
                "vocabulary."
            )

    def _renamed(self, error: ModelError) -> ModelError:
        """What the loader says of ``model.path`` is said of the setting that named this model."""
        return ModelError(str(error).replace("model.path:", f"method.{self.name}:", 1))


def experts(config: RunConfig, composition: Composition) -> list[Expert]:
    """The models besides the base that the methods' terms compare with.

    Raises:
        RunError: one is a run that is not finished.
    """
    wanted = [name for name in composition.required_references if name != "base"]
    return [_expert(config, name, composition.references[name]) for name in wanted]


def _expert(config: RunConfig, name: str, path: str) -> Expert:
    folder = Path(os.path.expanduser(path))
    if not (folder / "config.yaml").is_file():
        whole = {"path": path, "revision": None, "quantization": None}
        return Expert(name, path, config.model.model_copy(update=whole), None)
    if not (folder / "model").is_dir():
        raise RunError(f"method.{name}: the run '{path}' has no model/ yet: it is not finished.")
    run = load_config(folder / "config.yaml")
    if run.lora is None:
        whole = {"path": str(folder / "model"), "revision": None, "quantization": None}
        return Expert(name, path, config.model.model_copy(update=whole), None)
    same = {"device": config.model.device, "attention": config.model.attention}
    return Expert(name, path, run.model.model_copy(update=same), folder / "model")
