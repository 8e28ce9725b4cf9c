"""Rows that a model is to write: all that decides them, known and checked before a weight is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from acclimate.config.chosen.replay import ReplaySection
from acclimate.config.schema import ModelSection, RunConfig
from acclimate.model.checks.reach import reach_of
from acclimate.model.identity import model_identity
from acclimate.model.load import load_config_of, load_tokenizer
from acclimate.types.errors import ConfigError, DataError
from acclimate.verbs.replay.asking import Asking
from acclimate.verbs.replay.beginnings import Beginnings, given_identity
from acclimate.verbs.replay.manuscript import VERSION
from acclimate.verbs.replay.seeds import seeds_digest


@dataclass(frozen=True)
class Commission:
    """A model, and what it is to write.

    Args:
        key: dotted path of the settings, for sentences: ``sources.general.replay``.
        model: what writes, as its folder has it, with a dtype.
        cache_dir: where digests of files are remembered.
        thinking: mode of a hybrid model; None and mixed are both.
    """

    key: str
    model: ModelSection
    settings: ReplaySection
    cache_dir: str
    thinking: Literal["on", "off", "mixed"] | None = None

    @classmethod
    def of(cls, config: RunConfig, name: str) -> Commission:
        """Of a run's source: its base writes, that which KL is measured against, before any token is added.

        Args:
            config: resolved.
        """
        base = config.model.of_base.model_copy(update={"add_tokens": []})
        settings = config.sources[name].replay or ReplaySection()
        thinking = config.sources[name].thinking
        return cls(f"sources.{name}.replay", base, settings, config.data.cache_dir, thinking)

    def check(self) -> None:
        """Everything that can go wrong before the model writes.

        Raises:
            ConfigError, DataError, ModelError: the settings do not fit the model, or a file they name cannot be read.
        """
        reach = reach_of(load_config_of(self.model))
        if self.settings.max_new_tokens >= reach.positions:
            raise ConfigError(
                f"{self.key}.max_new_tokens: {self.settings.max_new_tokens} leaves no room for a prompt in the "
                f"{reach}; lower it."
            )
        _ = self.beginnings

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.model)

    @cached_property
    def beginnings(self) -> Beginnings:
        """From what rows begin."""
        asking = Asking(self.tokenizer, self.thinking) if self.tokenizer.chat_template is not None else None
        if self.thinking is not None and (asking is None or not asking.hybrid):
            raise ConfigError(
                f"{self.key.removesuffix('.replay')}.thinking: the model's chat template never reads enable_thinking, "
                "so the option would have no effect; leave it out."
            )
        return Beginnings(self.key, self.settings, self.tokenizer, asking)

    @cached_property
    def identity(self) -> str:
        """sha256 of what decides the rows: model, settings, prompts; not where any of them lies."""
        settings = self.settings.model_dump(mode="json", exclude={"prompts", "prefixes"})
        given = {name: given_identity(getattr(self.settings, name), self.cache_dir) for name in ("prompts", "prefixes")}
        model = [model_identity(self.model), self.model.dtype, self.model.dequantize, self.model.quantization]
        found = json.dumps([VERSION, model, settings, given, self.thinking, seeds_digest()], sort_keys=True)
        return hashlib.sha256(found.encode()).hexdigest()

    def nothing_written(self, dropped: dict[str, int], rows: int) -> DataError:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        return DataError(
            f"{self.key}: '{self.model.path}' hardly writes a row that is new: of {sum(dropped.values()) + rows} so "
            f"far {rows} could be kept (left out: {reasons}). Lower tokens, give prompts of your own, or give text as "
            "the source."
        )
