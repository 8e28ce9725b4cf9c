"""A list of messages becomes parts: dialects and roles of other tools, what may be learned, contents in pieces.

Dialects: ``{role, content}``, and ShareGPT's ``{from, value}``, whose roles have other names. Calls of functions that
are a turn of their own (``function_call`` [from code: LLaMA-Factory]) become ``tool_calls`` of an assistant's message.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from acclimate.data.read.unread import Unread
from acclimate.data.read.values import BadRow, check_json, is_empty, kind, refuse_half_surrogates, shown_names, string
from acclimate.types.errors import listed

SHAREGPT_ROLES = {
    "human": "user", "prompter": "user", "gpt": "assistant", "model": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant",
}  # fmt: skip
"""What ``from`` says -> the role. [from code: LLaMA-Factory's tags; the names of products: second-hand]"""
TOOL_ROLES = dict.fromkeys(("observation", "function", "function_response", "tool_response"), "tool")
"""Of an answer of a tool, in both dialects.

``observation`` is LLaMA-Factory's [from code], ``function`` OpenAI's earlier name."""
CALL_ROLES = ("function_call", "tool_call")
CONTEXT_ROLES = ("system", "user", "tool", "developer", "ipython")
"""Roles that are context wherever no route names them, and which nobody expects to be learned."""
LEARNED_KEYS = (
    "weight", "train", "training", "trainable", "train_on_turn", "loss", "loss_weight", "loss_scale",
)  # fmt: skip
"""Keys by which other tools say whether a turn is learned.

``weight`` is OpenAI's, 0 or 1 [API reference]; ``train`` and ``training`` are axolotl's ``message_field_training``
[second-hand], where true learns any role; ``loss`` is ms-swift's [second-hand].
"""
REFUSED_KEYS = {
    "train_detail": "it learns characters of a turn", "training_detail": "it learns characters of a turn",
    "mask": "tools read it in two opposite ways", "masked": "tools read it in two opposite ways",
    "loss_mask": "tools read it in two opposite ways",
}  # fmt: skip
TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA = ("image", "audio", "video", "file")
"""In the types of parts that a model of text cannot take."""
SPOKEN = ("tool_calls", "reasoning_content", "reasoning", "thinking")
"""Keys of a message that the model produces beside its content."""


@dataclass(frozen=True)
class Part:
    """A message of a chat, a half of a prompt/completion pair, or a whole plain text.

    ``route`` is the message's own route field. ``context`` marks the prompt side of a pair of message
    lists, and a message that says ``weight: 0``: read but not learned, whatever its role (its own route still wins).
    ``extra`` are the other keys of a message (``tool_calls``, ``name``), handed to the chat template unchanged.
    """

    role: str
    text: str
    route: str | None = None
    context: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def says_something(self) -> bool:
        return bool(self.text.strip()) or any(self.extra.get(key) for key in SPOKEN)


@dataclass(frozen=True)
class Turns:
    """Reads messages of one record.

    Args:
        where: place of the record.
        learned: roles that have a route; they keep their names.
        unread: gets what is not read.
    """

    where: str
    learned: Collection[str]
    unread: Unread

    def parts(self, value: Any, name: str, context: bool = False) -> list[Part]:
        """
        Raises:
            BadRow: no list of messages, or a message that cannot be read.
        """
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = self._from_json(value)
        if not isinstance(value, list):
            raise BadRow("wrong type", f"{self.where}: {name} must be a list of messages, not {kind(value)}.")
        return [self._part(item, f"message {number} of {name}", context) for number, item in enumerate(value, 1)]

    def with_system(self, parts: list[Part], value: Any, name: str, context: bool) -> list[Part]:
        """Puts the text of a column before the messages, as their system message."""
        if value is None or value == "":
            return parts
        text = string(value, f"'{name}'", self.where)
        said = [part.text.strip() for part in parts if part.role in ("system", "developer")]
        if not text.strip() or text.strip() in said:
            return parts
        if said:
            raise BadRow(
                "two system messages",
                f"{self.where}: the column '{name}' and a system message differ; keep one of them.",
            )
        return [Part("system", text, context=context), *parts]

    def _part(self, item: Any, name: str, context: bool) -> Part:
        if not isinstance(item, dict):
            raise BadRow(
                "wrong type", f"{self.where}: {name} must be an object with 'role' and 'content', not {kind(item)}."
            )
        rest = {key: value for key, value in item.items() if value is not None or key in ("content", "value")}
        sharegpt = "from" in rest and "value" in rest and "role" not in rest and rest.get("content") is None
        if sharegpt:
            rest.pop("content", None)
        role_name, text_name = ("from", "value") if sharegpt else ("role", "content")
        self._calls_of_old(rest, name)
        if rest.get("tool_calls"):
            rest.setdefault("content" if not sharegpt else "value", "")  # a message that only calls tools
        missing = [f"'{key}'" for key in (role_name, text_name) if key not in rest]
        if missing:
            found = shown_names(item) or "nothing"
            raise BadRow("missing field", f"{self.where}: {name} has no {listed(missing)}; it has {found}.")
        role = self._role(string(rest.pop(role_name), f"'{role_name}' in {name}", self.where), sharegpt)
        text = self._content(rest.pop(text_name), f"'{text_name}' in {name}")
        if role in CALL_ROLES and role not in self.learned:
            role, text, rest["tool_calls"] = "assistant", "", self._calls(text, f"'{text_name}' in {name}")
        route = rest.pop("route", None)
        if route is not None:
            route = string(route, f"'route' in {name}", self.where)
        learned = self._learned(rest, name)
        if route is not None and learned is False:
            raise BadRow(
                "route and weight 0", f"{self.where}: {name} has a 'route' and is not to be learned; keep one."
            )
        if route is None and role not in self.learned:
            if learned:
                self.unread.add("asked", role, self.where)
            elif role not in (*CONTEXT_ROLES, "assistant"):
                self.unread.add("role", role, self.where)
        for key, value in rest.items():
            check_json(value, f"'{key}' in {name}", self.where)
        return Part(role, text, route, learned is False or (context and not learned), rest)

    def _role(self, name: str, sharegpt: bool) -> str:
        if name in self.learned:
            return name
        return TOOL_ROLES.get(name) or (SHAREGPT_ROLES.get(name, name) if sharegpt else name)

    def _learned(self, rest: dict[str, Any], name: str) -> bool | None:
        """Takes the keys of other tools out of a message; None where there are none."""
        for key, why in REFUSED_KEYS.items():
            if rest.get(key) not in (None, []):
                raise BadRow(
                    "unknown mask",
                    f"{self.where}: '{key}' in {name} is not read, since {why}; give 'weight', 0 or 1, instead.",
                )
            rest.pop(key, None)
        found = {key: rest.pop(key) for key in LEARNED_KEYS if key in rest}
        for key, value in found.items():
            if not isinstance(value, int | float) or value not in (0, 1):
                given = f"the number {value}" if isinstance(value, int | float) else kind(value)
                raise BadRow(
                    "weight of a message",
                    f"{self.where}: '{key}' in {name} must be 0 or false (context) or 1 or true (learned), "
                    f"not {given}; messages have no weights between.",
                )
        if len({bool(value) for value in found.values()}) > 1:
            raise BadRow(
                "weight of a message", f"{self.where}: {listed(map(repr, found))} in {name} disagree; keep one."
            )
        return bool(next(iter(found.values()))) if found else None

    def _content(self, value: Any, name: str) -> str:
        """A string, nothing, or OpenAI's list of parts, whose texts are joined as they stand."""
        if value is None:
            return ""
        if not isinstance(value, list):
            return string(value, name, self.where)
        texts = []
        for number, part in enumerate(value, 1):
            text = part.get("text") if isinstance(part, dict) else None
            if text is None or part.get("type", "text") not in TEXT_PARTS:
                found = f"'{part['type']}'" if isinstance(part, dict) and "type" in part else kind(part)
                media = any(word in found for word in MEDIA)
                raise BadRow(
                    "content that is no text",
                    f"{self.where}: part {number} of {name} is {found}; "
                    + ("only text is trained, also of a model that sees or hears; " if media else "")
                    + "of a content in parts only {type: text, text: ...} is read.",
                )
            texts.append(string(text, f"'text' in part {number} of {name}", self.where))
            for key, other in part.items():
                if key not in ("type", "text") and not is_empty(other):
                    self.unread.add("key", key, self.where)
        return "".join(texts)

    def _calls_of_old(self, rest: dict[str, Any], name: str) -> None:
        """OpenAI's earlier ``function_call: {name, arguments}`` becomes one of ``tool_calls``."""
        if "function_call" not in rest:
            return
        if rest.get("tool_calls"):
            raise BadRow("two kinds of calls", f"{self.where}: {name} has 'function_call' and 'tool_calls'; keep one.")
        rest["tool_calls"] = self._calls(rest.pop("function_call"), f"'function_call' in {name}")

    def _calls(self, value: Any, name: str) -> list[dict[str, Any]]:
        """``{name, arguments}``, several of these in a list, or the same as a string of JSON."""
        given = self._from_json(value) if isinstance(value, str) else value
        calls = []
        for call in given if isinstance(given, list) else [given]:
            function = call.get("function", call) if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise BadRow(
                    "no function call",
                    f"{self.where}: {name} is a call of a function, so it must be {{name, arguments}} or a list of "
                    "these, as JSON.",
                )
            for key in (call | function).keys() - {"name", "arguments", "function", "type", "id"}:
                self.unread.add("key", key, self.where)
            arguments = function.get("arguments")
            known = {"id": call["id"]} if "id" in call else {}
            function = {"name": function["name"], "arguments": {} if arguments is None else arguments}
            calls.append(known | {"type": "function", "function": function})
        return calls

    def _from_json(self, text: str) -> Any:
        """What a string of JSON says, or the string."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        refuse_half_surrogates(found, self.where)
        return found
