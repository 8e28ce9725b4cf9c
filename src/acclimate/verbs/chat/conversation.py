"""A conversation with one model: what was said, and the next answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import TextStreamer

from acclimate.build import open_run
from acclimate.data.chat.rendering import turn_end_ids
from acclimate.measurement.generate import answer, chat_prompt, text_prompt
from acclimate.model.causal import CausalModel
from acclimate.types.errors import RunError, UsageError, reason


class Conversation:
    """Turns with one model. Without a chat template each text is continued on its own.

    Args:
        name: ``tuned`` or ``base``.
        model: gives the model while its context lasts.
        system: a system message before the first turn.
        max_new_tokens: the longest answer.
        temperature: 0 answers greedily.
        seed: of the tokens that are drawn; the same seed and the same turns give the same answers.

    Raises:
        UsageError: ``system`` or ``seed`` would have no effect, or the template refuses a system message.
    """

    def __init__(
        self,
        name: str,
        model: Callable[[], AbstractContextManager[CausalModel]],
        tokenizer: Any,
        *,
        system: str | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        if seed is not None and temperature == 0:
            raise UsageError("--seed: has no effect on greedy answers; give a --temperature above 0, or leave it out.")
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed or 0
        self.beginning = [] if system is None else [{"role": "system", "content": system}]
        self.messages = self.beginning
        self.asked = 0
        probe = [{"role": "user", "content": "?"}]
        if system is not None and self._prompt([*self.beginning, *probe]) == self._prompt(probe):
            raise UsageError("--system: this model has no chat template that takes a system message; leave it out.")
        self.stop = turn_end_ids(tokenizer)

    @property
    def templated(self) -> bool:
        return self.tokenizer.chat_template is not None

    def ask(self, text: str, show: Callable[[str], None] | None = None) -> str:
        """The answer to ``text``, given all that was said before.

        An answer that is interrupted stays in the conversation as far as it came.

        Args:
            show: called with each piece of the answer when it is generated.

        Raises:
            RunError: the conversation fills the positions of the model.
        """
        text = text.encode("utf-8", "replace").decode()  # a terminal may hand on half a character
        said = [*self.messages, {"role": "user", "content": text}]
        prompt = self._prompt(said)
        pieces = _Pieces(self.tokenizer, show)
        try:
            with self.model() as model:
                torch.manual_seed(self.seed + self.asked)
                room = _positions_left(model.network, len(prompt))
                answer(
                    model,
                    self.tokenizer,
                    prompt,
                    int(min(self.max_new_tokens, room)),
                    self.temperature,
                    self.stop,
                    pieces,
                )
        finally:
            self.asked += 1
            if self.templated and pieces.text:
                self.messages = [*said, {"role": "assistant", "content": pieces.text.strip()}]
        return pieces.text.strip()

    def reset(self) -> None:
        """Forgets all turns; a system message stays."""
        self.messages = self.beginning

    def _prompt(self, messages: list[dict[str, str]]) -> Sequence[int]:
        if not self.templated:
            return text_prompt(self.tokenizer, messages[-1]["content"], whole=True)[1]
        try:
            return chat_prompt(self.tokenizer, messages, None)[1]
        except (TemplateError, ValueError) as error:
            raise UsageError(
                f"The model's chat template refuses this conversation: {reason(error).rstrip('.')}."
            ) from None


def open_chat(
    run_dir: str | Path, *, base: bool = False, checkpoint: str | None = None, **options: Any
) -> list[Conversation]:
    """A conversation with a run's tuned model and, with ``base``, a second one with its base.

    Args:
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
        options: as in :class:`Conversation`.

    Raises:
        UsageError: the folder is no run, or has no such checkpoint.
        RunError: the run is not trained yet, or its model or base have changed since.
    """
    _, pair = open_run(Path(run_dir), checkpoint)
    opened = [Conversation("tuned", lambda: nullcontext(pair.model), pair.model.tokenizer, **options)]
    if base:
        opened.append(Conversation("base", pair.base.generator, pair.model.tokenizer, **options))
    return opened


def _positions_left(network: Any, used: int) -> float:
    positions: float = getattr(network.config.get_text_config(), "max_position_embeddings", None) or float("inf")
    if used >= positions:
        raise RunError(
            f"The conversation has {used} tokens, but this model was made for {positions} positions; "
            "/reset starts anew."
        )
    return positions - used


class _Pieces(TextStreamer):  # type: ignore[misc]
    """Collects the text of an answer, word by word."""

    def __init__(self, tokenizer: Any, show: Callable[[str], None] | None) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.show = show
        self.text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text
        if self.show is not None and text:
            self.show(text)
