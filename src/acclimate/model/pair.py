"""A tuned model and the base that it is measured against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference


@dataclass(frozen=True)
class Pair:
    """A model and its base, which is loaded and checked when it is first asked for: an export needs none.

    Args:
        open_base: gives the frozen model that drift and gain are measured against.
        open_start: gives the model that training began with, where that is another.
        open_untouched: gives the base as its folder has it, where something was changed in it before training.
        identity: says which they are, as plain data.
        notes: what a reader must know.
        chat_notes: what a reader of a panel in chat form must know.
    """

    model: CausalModel
    open_base: Callable[[], Reference]
    open_start: Callable[[], Reference] | None = None
    open_untouched: Callable[[], CausalModel] | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chat_notes: tuple[str, ...] = ()

    @cached_property
    def base(self) -> Reference:
        return self.open_base()

    def said(self, chat: bool) -> list[str]:
        """The notes that bear on texts in this form."""
        return [*self.notes, *(self.chat_notes if chat else ())]

    def start(self) -> Reference:
        """Where the trained weights began; a second network that is loaded now, where the base is another one."""
        return self.base if self.open_start is None else self.open_start()
