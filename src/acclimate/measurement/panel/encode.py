"""Items to token ids, with the boundary between context and choice where lm-eval has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acclimate.config.explain import shown
from acclimate.data.chat.rendering import ChatTemplate
from acclimate.measurement.panel.items import Item
from acclimate.measurement.panel.schema import PanelConfig
from acclimate.model.checks.reading import check_texts
from acclimate.types.errors import ConfigError, DataError, ModelError


@dataclass(frozen=True)
class Encoded:
    """One item as token ids."""

    context: list[int]  # at least one
    choices: list[list[int]]  # each at least one
    right: int
    where: str


def encode(items: Sequence[Item], tokenizer: Any, panel: PanelConfig, base: Any = None) -> list[Encoded]:
    """Tokenises as lm-eval does.

    Plain: the choice follows after one blank. The whole is tokenised and cut after as many tokens as the context has
    by itself; blanks at the end of a context go to the choice first, because tokenizers write ' word' as one token. An
    empty context is the bos token (eos where there is none). Chat: the context is a user's turn with the assistant's
    opened, and the choice follows at once.

    Args:
        base: the base's tokenizer, which must read the same tokens.

    Raises:
        DataError: a choice that has no token of its own, or a chat the template refuses.
        ConfigError: no chat template, or no such mode of it.
        ModelError: an empty context, and no token to begin with; or a text that the base reads as other tokens.
    """
    if panel.template == "chat":
        contexts, blank, begin = [_turn(item, tokenizer, panel) for item in items], "", []
    else:
        contexts, blank, begin = [item.context for item in items], " ", beginning(tokenizer)
    asked = [
        (context, [blank + choice for choice in item.choices]) for context, item in zip(contexts, items, strict=True)
    ]
    if base is not None:
        places = [item.where for item in items]
        check_pairs(places, asked, tokenizer, base, plain=panel.template == "plain")
    result = []
    for item, (context_ids, choices) in zip(items, encode_pairs(asked, base or tokenizer, begin), strict=True):
        if [] in choices:
            raise DataError(
                f"{item.where}: choice {choices.index([]) + 1} ({shown(item.choices[choices.index([])])}) has no token "
                "of its own after this context, so it has no likelihood."
            )
        result.append(Encoded(context_ids, choices, item.right, item.where))
    return result


def encode_pairs(
    asked: Sequence[tuple[str, Sequence[str]]], tokenizer: Any, begin: Sequence[int]
) -> list[tuple[list[int], list[list[int]]]]:
    """Token ids of each context, after ``begin``, and of each text that may follow it; none of a text without its own.

    Args:
        asked: contexts with the texts after them, blanks included.
    """
    if not asked:
        return []
    ids = tokenizer([context.rstrip() for context, _ in asked], add_special_tokens=False)["input_ids"]
    wholes = [context + text for context, texts in asked for text in texts]
    whole_ids = iter(tokenizer(wholes, add_special_tokens=False)["input_ids"])
    return [
        (_begun(context, begin) or [_first(tokenizer)], [next(whole_ids)[len(context) :] for _ in texts])
        for context, (_, texts) in zip(ids, asked, strict=True)
    ]


def _begun(ids: list[int], begin: Sequence[int]) -> list[int]:
    """``begin`` before a text that does not spell it itself, as in training."""
    return ids if begin and ids[: len(begin)] == list(begin) else [*begin, *ids]


def check_pairs(
    places: Sequence[str], asked: Sequence[tuple[str, Sequence[str]]], tokenizer: Any, base: Any, plain: bool
) -> None:
    """Refuses contexts and texts after them that ``base``, the base's tokenizer, reads as other tokens.

    Args:
        plain: whether they begin as the tokenizer begins a text.
    """
    if tokenizer is base:
        return
    if plain and asked and (one := beginning(tokenizer)) != (other := beginning(base)):
        raise ModelError(
            f"The model's tokenizer begins a text with {one or 'no token'}, the base's with {other or 'none'}, so "
            "their likelihoods are not of the same tokens; give a base whose tokenizer has the same tokens."
        )
    pairs = list(zip(places, asked, strict=True))
    texts = [(where, context.rstrip()) for where, (context, _) in pairs]
    check_texts(texts + [(where, c + text) for where, (c, after) in pairs for text in after], tokenizer, base)


def _turn(item: Item, tokenizer: Any, panel: PanelConfig) -> str:
    text = chat_text([{"role": "user", "content": item.context}], tokenizer, panel)
    if text is None:
        raise DataError(f"{item.where}: the model's chat template refuses this item.")
    return text


def chat_text(
    messages: list[dict[str, str]], tokenizer: Any, panel: PanelConfig, generation_prompt: bool = True
) -> str | None:
    """Messages in the model's own template; None where it refuses them.

    Raises:
        ConfigError: no chat template, or no such mode of it.
    """
    if tokenizer.chat_template is None:
        raise ConfigError("template: chat needs a chat template, and the model's tokenizer has none; use plain.")
    if panel.thinking is not None and "enable_thinking" not in str(tokenizer.chat_template):
        raise ConfigError("thinking: the model's chat template never reads enable_thinking; leave it out.")
    return ChatTemplate(tokenizer).attempt(messages, panel.thinking, generation_prompt=generation_prompt)


def beginning(tokenizer: Any) -> list[int]:
    """What the tokenizer itself puts before a text: a bos token, or nothing."""
    with_specials, without = (tokenizer("a", add_special_tokens=on)["input_ids"] for on in (True, False))
    starts = (i for i in range(len(with_specials)) if with_specials[i : i + len(without)] == without)
    return list(with_specials[: next(starts, 0)])


def _first(tokenizer: Any) -> int:
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise ModelError(
            "An item has no context, and the model's tokenizer neither a bos nor an eos token to begin with."
        )
    return int(token)
