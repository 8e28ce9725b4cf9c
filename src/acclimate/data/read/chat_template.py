"""The tokenizer's chat template, rendered the same on any day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

DAY = datetime(2024, 7, 26)
"""What a template is told that asks for the day: the one that Llama's fall back to where they cannot ask [ours].

A template that prints the day would make other tokens tomorrow: of a stream that is resumed, of a cache that is built
again, of the same panel a week later.
"""
ASKED = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
"""transformers gives a template this function, and takes no other in its place."""


def apply_chat_template(tokenizer: Any, messages: Sequence[dict[str, Any]], **options: Any) -> Any:
    """``tokenizer.apply_chat_template`` on :data:`DAY`; ``options`` are its own."""
    if asks_for_the_day(tokenizer):
        template = tokenizer.get_chat_template(tools=options.get("tools"))
        options["chat_template"] = ASKED.sub(lambda asked: repr(DAY.strftime(asked[2])), template)
    return tokenizer.apply_chat_template(list(messages), **options)


def asks_for_the_day(tokenizer: Any) -> bool:
    return "strftime_now" in str(tokenizer.chat_template)
