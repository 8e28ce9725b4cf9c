"""Whether model and base read the same tokens, which alone makes their likelihoods those of the same things."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from acclimate.config.explain import shown
from acclimate.types.errors import ModelError

SAMPLE = "The kidney filters 180 litres a day;  naïve café 東京.\n\tif x[0] != 'y': return {x: 1.5e-3}\n\nA. Yes"


def check_tokenizers(tokenizer: Any, base: Any, path: str, base_path: str) -> None:
    """Refuses two models that split a sample of text otherwise, before either is loaded.

    What else their files hold may differ: a chat template, a pad token, truncation. What is asked later is compared
    text by text, by :func:`check_texts`.
    """
    if any(one != other for one, other in _both([SAMPLE], tokenizer, base)):
        raise ModelError(
            f"--base: '{base_path}' has another tokenizer than '{path}', so their likelihoods are not of the same "
            "tokens; give the base that the model was made from."
        )


def check_texts(texts: Sequence[tuple[str, str]], tokenizer: Any, base: Any) -> None:
    """Refuses a text that the base's tokenizer reads as other tokens: it holds one that was added while tuning.

    Args:
        texts: where each stands, and the text.

    Raises:
        ModelError: the place, and the first token that differs.
    """
    if tokenizer is base or not texts:
        return
    for (where, _), (one, other) in zip(texts, _both([text for _, text in texts], tokenizer, base), strict=True):
        if one != other:
            ours, theirs = next(pair for pair in zip_longest(one, other) if pair[0] != pair[1])
            raise ModelError(
                f"{where}: the model's tokenizer reads {_token(tokenizer, ours)} where the base's reads "
                f"{_token(base, theirs)}, so their likelihoods are not of the same tokens; leave such texts out, or "
                "give a base whose tokenizer has the same tokens."
            )


def common_template(tokenizer: Any, base: Any, path: str, base_path: str) -> tuple[str, ...]:
    """Gives both sides one chat template, the tuned model's where it has one, and says so where they differ.

    A paired measure puts the same text to both.
    """
    if tokenizer.chat_template == base.chat_template:
        return ()
    if tokenizer.chat_template is None:
        tokenizer.chat_template = base.chat_template
        return (f"'{path}' has no chat template: in chat form both models read that of the base '{base_path}'.",)
    own = "has none" if base.chat_template is None else "has another"
    return (f"In chat form both models read the chat template of '{path}'; the base '{base_path}' {own}.",)


def _both(texts: list[str], tokenizer: Any, base: Any) -> list[tuple[list[int], list[int]]]:
    read = [one(texts, add_special_tokens=False)["input_ids"] for one in (tokenizer, base)]
    return list(zip(*read, strict=True))


def _token(tokenizer: Any, token: int | None) -> str:
    return "no token" if token is None else f"{shown(str(tokenizer.convert_ids_to_tokens(token)))} (id {token})"
