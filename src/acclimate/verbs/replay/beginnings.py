"""From what rows begin: batch after batch, each a function of its number and the settings alone."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Any, TypeVar

from acclimate.config.chosen.replay import ReplaySection, Way
from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.rendering import Thinking
from acclimate.data.prepare.digests import Digests
from acclimate.data.read.documents import Document, Part, Reader, read_documents
from acclimate.types.errors import ConfigError, DataError, ModelError, listed
from acclimate.verbs.replay.asking import Asking
from acclimate.verbs.replay.seeds import in_turns

CHAT_WAYS: tuple[Way, ...] = ("template", "seeds", "prompts")
LENGTHS = {1: 1.0, 2: 2.0, 4: 4.0}
"""Limit over ``max_new_tokens``, inverted -> how many batches have it: a third of the tokens each."""
OWN_WORDS = 128
"""Tokens of the longest question that the model asks itself."""
Key = TypeVar("Key")


@dataclass(frozen=True)
class Beginning:
    """What the model reads before it writes. ``messages`` is None of a row that is no chat."""

    way: Way
    ids: tuple[int, ...] = ()
    text: str = ""
    messages: tuple[Mapping[str, Any], ...] | None = None
    thinking: Thinking | None = None
    family: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Batch:
    """Rows that are written together."""

    number: int
    way: Way
    limit: int
    """Tokens of the longest."""
    beginnings: tuple[Beginning, ...]


def turns(weights: Mapping[Key, float]) -> Iterator[Key]:
    """Keys without end, each as often as its weight asks for, to within one.

    >>> from itertools import islice
    >>> list(islice(turns({"a": 1.0, "b": 2.0}), 6))
    ['b', 'a', 'b', 'b', 'a', 'b']
    """
    total, owed = sum(weights.values()), dict.fromkeys(weights, 0.0)
    while True:
        owed = {key: owed[key] + weight / total for key, weight in weights.items()}
        chosen = max(owed, key=lambda key: owed[key])
        owed[chosen] -= 1
        yield chosen


@dataclass
class Beginnings:
    """Beginnings for one model and one section of settings.

    Args:
        key: dotted path of the settings, for sentences: ``sources.general.replay``.
        asking: the model's chat template; None of a model without.

    Raises:
        ConfigError, DataError, ModelError: the settings do not fit the model, or the files that they name.
    """

    key: str
    settings: ReplaySection
    tokenizer: Any
    asking: Asking | None
    ways: Mapping[Way, float] = field(init=False)

    def __post_init__(self) -> None:
        self.ways = self._ways()
        self._prompts = self._chats() if "prompts" in self.ways else []
        self._prefixes = self._texts() if "prefixes" in self.ways else []

    def batches(self) -> Iterator[Batch]:
        """All batches from the first on, without end."""
        taken = dict.fromkeys(self.ways, 0)
        limits = {way: turns(LENGTHS) for way in self.ways}
        for number, way in zip(count(), turns(self.ways), strict=False):
            limit = max(1, self.settings.max_new_tokens // next(limits[way]))
            first = taken[way]
            taken[way] += self.settings.batch_size
            rows = range(first, first + self.settings.batch_size)
            yield Batch(number, way, limit, tuple(self._begin(way, row) for row in rows))

    def answering(self, asked: Beginning, question: str) -> Beginning | None:
        """The chat that a question of the model's own begins; None where the template refuses it."""
        return self._chat("template", [{"role": "user", "content": question}], asked.thinking)

    def _begin(self, way: Way, row: int) -> Beginning:
        draw = random.Random(f"{way}:{self.settings.seed}:{row}")
        if way == "bos":
            bos = self.tokenizer.bos_token
            puts = self.tokenizer("a")["input_ids"][0] == self.tokenizer.bos_token_id
            return Beginning(way, (self.tokenizer.bos_token_id,), "" if puts else bos)
        if way == "prefixes":
            return self._prefix(self._shuffled(self._prefixes, row), draw)
        assert self.asking is not None
        thinking = self.asking.modes[row % len(self.asking.modes)]
        if way == "template":
            before, _ = self.asking.blank(thinking) or ("", 0)
            return Beginning(way, tuple(self.asking.ids(before)), before, None, thinking)
        if way == "seeds":
            order = in_turns(self.settings.seed + row // len(in_turns(0)))
            seed = order[row % len(order)]
            messages: Sequence[Mapping[str, Any]] = [{"role": "user", "content": seed.filled(draw)}]
            found = self._chat(way, messages, thinking, seed.family, seed.language)
        else:
            found = self._chat(way, self._shuffled(self._prompts, row), thinking)
        return found or Beginning(way)  # without ids: the template refuses it

    def _chat(
        self,
        way: Way,
        messages: Sequence[Mapping[str, Any]],
        thinking: Thinking | None,
        family: str | None = None,
        language: str | None = None,
    ) -> Beginning | None:
        assert self.asking is not None
        text = self.asking.prompt(messages, thinking)
        if not text:
            return None
        return Beginning(way, tuple(self.asking.ids(text)), text, tuple(messages), thinking, family, language)

    def _shuffled(self, items: Sequence[Any], row: int) -> Any:
        """Each item once in every pass."""
        return items[_order(len(items), f"order:{self.settings.seed}:{row // len(items)}")[row % len(items)]]

    def _prefix(self, text: str, draw: random.Random) -> Beginning:
        around, inside = (list(self.tokenizer(text, add_special_tokens=on)["input_ids"]) for on in (True, False))
        put = next((i for i in range(len(around)) if around[i : i + 1] == inside[:1]), 0)
        ids = around[put : put + draw.randint(1, self.settings.prefix_tokens)]
        shown = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Beginning("prefixes", tuple(around[:put] + ids), str(shown))

    def _ways(self) -> Mapping[Way, float]:
        """The ways that are wanted, each of which the model has."""
        given: list[Way] = [way for way in ("prompts", "prefixes") if getattr(self.settings, way) is not None]
        able = self._able()
        wanted = self.settings.ways or {
            way: 1.0 for way in able if way in given or way in ("template", "seeds" if self.asking else "bos")
        }
        for way in wanted:
            if way not in able:
                raise ModelError(f"{self.key}.ways: '{way}' cannot be had, since {self._why_not(way)}.")
        for way in given:
            if way not in wanted:
                where = f"'{way}' is not among {self.key}.ways" if self.settings.ways else self._why_not(way)
                raise ConfigError(f"{self.key}.{way}: has no effect, since {where}; leave it out.")
        if not wanted:
            raise ModelError(
                f"{self.key}: the model has neither a chat template nor a bos token, so nothing begins a row of its "
                f"own; give {self.key}.prefixes, texts whose beginnings it continues."
            )
        return wanted

    def _able(self) -> list[Way]:
        asks = self.asking is not None
        blank = self.asking is not None and all(self.asking.blank(mode) for mode in self.asking.modes)
        able: dict[Way, bool] = {
            "template": blank,
            "seeds": asks,
            "prompts": asks and self.settings.prompts is not None,
            "bos": self.tokenizer.bos_token_id is not None,
            "prefixes": self.settings.prefixes is not None,
        }
        return [way for way, can in able.items() if can]

    def _why_not(self, way: Way) -> str:
        if way in CHAT_WAYS and self.asking is None:
            return f"the model has no chat template; accepted: {listed(('bos', 'prefixes'))}"
        if way == "template":
            return "its chat template marks neither beginning nor end of a user's turn by a token of its own"
        if way == "bos":
            return "its tokenizer has no bos token"
        return f"{self.key}.{way} names no file"

    def _chats(self) -> list[list[Mapping[str, Any]]]:
        """Each prompt as the messages before an answer; of a .txt or .md file each line is one."""
        found: list[list[Mapping[str, Any]]] = []
        for document in read_given(self.key, "prompts", str(self.settings.prompts)):
            if document.templated:
                messages: list[Mapping[str, Any]] = [
                    {"role": p.role, "content": p.text, **p.extra} for p in document.parts
                ]
                until = max((i for i, m in enumerate(messages) if m["role"] != "assistant"), default=-1) + 1
                found += [messages[:until]] if until else []
                continue
            whole = document.parts[0].text
            asked = whole.splitlines() if os.path.splitext(document.where)[1] in (".txt", ".md") else [whole]
            found += [[{"role": "user", "content": line.strip()}] for line in asked if line.strip()]
        if not found:
            raise DataError(f"{self.key}.prompts: there is no prompt in '{self.settings.prompts}'.")
        return found

    def _texts(self) -> list[str]:
        return [d.text for d in read_given(self.key, "prefixes", str(self.settings.prefixes)) if d.text.strip()]


@lru_cache(maxsize=4)
def _order(count: int, seed: str) -> list[int]:
    """Shuffled once a pass: of a million prompts that takes half a second."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def read_given(key: str, name: str, path: str) -> list[Document]:
    """Documents of a file that the settings name, in any form that a source may have; ``prompt`` alone is a question.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    try:
        return read_documents("given", SourceSection(path=path))[0]
    except DataError as error:
        sentence = str(error).replace("sources.given.path", f"{key}.{name}").replace("sources.given", f"{key}.{name}")
    try:
        found, _ = read_documents("given", SourceSection(path=path, fields={"text": "prompt"}))
    except (DataError, ConfigError):
        raise DataError(sentence) from None
    return [replace(d, parts=(Part("user", d.parts[0].text),), templated=True) for d in found]


def given_identity(path: str | None, cache_dir: str) -> str | None:
    """Of the contents of what a path names, whatever its name; None of no path, or of one that names nothing."""
    if path is None:
        return None
    tables = Reader("given", SourceSection(path=path)).identity(Digests(cache_dir))[1:]
    return hashlib.sha256(repr([table[1:] for table in tables]).encode()).hexdigest()
