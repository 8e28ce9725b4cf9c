from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from acclimate.config.source_schema import SourceSection
from acclimate.data.prepare import encoding
from acclimate.data.prepare.encoding import Encoded, Encoder, Texts, bytes_of_tokens
from acclimate.data.read.records import Document, Part
from acclimate.measurement.generate import text_prompt
from acclimate.measurement.panel.encode import beginning, encode_pairs
from acclimate.types.central import Route
from acclimate.types.errors import ModelError
from tests.data.samples import THINKING_TEMPLATE, chat, section, text
from tests.fixtures.pico import pico_tokenizer
from tests.fixtures.sentences import refused
from tests.fixtures.templates import shaped

TABLE = (Route("other", "other"), Route("domain", "domain"), Route("domain", "general"))
DOMAIN, GENERAL = 0, 1  # of the source's own routes


def encode(document: Document, tokenizer: Any = None, config: SourceSection | None = None) -> Encoded:
    encoder = Encoder(tokenizer or pico_tokenizer(), "domain", config or section(), TABLE)
    (encoded,) = encoder.encode([document])
    assert len(encoded.ids) == len(encoded.routes) == len(encoded.token_bytes) == encoded.lengths.sum()
    assert [array.dtype.name for array in vars(encoded).values()] == ["int32", "int16", "int32", "int64", "int32"]
    assert encoded.labels.tolist() == [[int((encoded.routes[1:] == route).sum()) for route in (DOMAIN, GENERAL)]]
    return encoded


def learned(encoded: Encoded, route: int = DOMAIN, tokenizer: Any = None) -> str:
    return str((tokenizer or pico_tokenizer()).decode(encoded.ids[encoded.routes == route]))


def pair(prompt: str, completion: str) -> Document:
    return Document("domain", "a.jsonl:1", (Part("prompt", prompt), Part("completion", completion)), templated=False)


def llama_like(eos: bool = False) -> PreTrainedTokenizerFast:
    """A word-marker tokenizer with byte fallback and <s> in front, as Llama 2 has."""
    specials = ["<unk>", "<s>", "</s>"]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁a", "▁b", "ab", "▁ab", "[", "]"]
    merges = [("▁", "a"), ("▁", "b"), ("a", "b"), ("▁a", "b")]
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    after = " </s>" if eos else ""
    backend.post_processor = processors.TemplateProcessing(
        single=f"<s> $A{after}", pair="<s> $A $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_plain_text_is_all_learned_and_ends_with_eos() -> None:
    encoded = encode(text("law é"))
    assert pico_tokenizer().decode(encoded.ids) == "law é<|endoftext|>"
    assert encoded.routes.tolist() == [DOMAIN] * 7
    assert encoded.token_bytes.tolist() == [1, 1, 1, 1, 1, 1, 0]


def test_no_eos_when_not_asked_for_or_already_there() -> None:
    assert encode(text("law"), config=section(append_eos=False)).ids[-1] != 0
    twice = encode(text("law<|endoftext|>"))
    assert (twice.ids == 0).sum() == 1
    assert twice.token_bytes.tolist() == [1, 1, 1, 0]  # an eos spelt out is no text either


def test_tokens_that_the_tokenizer_adds() -> None:
    tokenizer = llama_like()
    encoded = encode(text("ab b"), tokenizer)
    assert tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == ["<s>", "▁ab", "▁b", "</s>"]
    assert encoded.routes.tolist() == [-1, DOMAIN, DOMAIN, DOMAIN]
    assert encoded.token_bytes.tolist() == [0, 2, 2, 0]
    own_eos = encode(text("ab b"), llama_like(eos=True))
    assert own_eos.ids.tolist() == encoded.ids.tolist()
    assert own_eos.routes.tolist() == [-1, DOMAIN, DOMAIN, DOMAIN]
    completed = encode(pair("b", "ab"), llama_like(eos=True))
    assert learned(completed, tokenizer=tokenizer) == "ab</s>"


def test_only_the_completion_is_learned() -> None:
    encoded = encode(pair("ask: ", "tell"))
    assert learned(encoded) == " tell<|endoftext|>"[1:]
    assert encoded.routes.tolist() == [-1] * 5 + [DOMAIN] * 5


def test_the_roles_of_a_pair_can_be_routed() -> None:
    encoded = encode(pair("ask ", "tell"), config=section(routes={"prompt": "general", "completion": "domain"}))
    assert (learned(encoded, GENERAL), learned(encoded)) == ("ask ", "tell<|endoftext|>")
    prompt_only = encode(pair("ask", "tell"), config=section(routes={"prompt": "general"}))
    assert (learned(prompt_only, GENERAL), learned(prompt_only)) == ("ask", "")


def test_a_word_whose_blank_belongs_to_the_prompt_is_learned() -> None:
    tokenizer = llama_like()
    encoded = encode(pair("[b] ", "ab"), tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    assert tokens[-2:] == ["▁ab", "</s>"]  # one token across the border
    assert encoded.routes.tolist() == [-1] * (len(tokens) - 2) + [DOMAIN, DOMAIN]


def test_a_token_that_straddles_a_prompt_and_its_completion_is_learned_whole() -> None:
    tokenizer = llama_like()
    encoded = encode(pair("[a", "b]"), tokenizer)
    assert tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == ["<s>", "▁", "[", "ab", "]", "</s>"]
    assert learned(encoded, tokenizer=tokenizer) == "ab]</s>"
    assert encoded.token_bytes[3:].tolist() == [2, 1, 0]  # all of the token's bytes, as for ' word'
    both = section(routes={"prompt": "general", "completion": "domain"})
    split = encode(pair("[a", "b]"), tokenizer, both)
    assert (learned(split, GENERAL, tokenizer), learned(split, tokenizer=tokenizer)) == (" [ab", "]</s>")
    tokenizer.chat_template = "{% for m in messages %}[a{{ m.content }}]{% endfor %}"
    assert learned(encode(chat(("assistant", "bcd")), tokenizer), tokenizer=tokenizer) == "abcd]"
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role[0] }}{{ m.content }}</s>{% endfor %}"
    document = chat(("user", "q"), ("assistant", "b"))
    assert learned(encode(document, tokenizer), tokenizer=tokenizer) == "ab</s>"


def bos_and_turns() -> PreTrainedTokenizerFast:
    """Llama 3's: a bos is put before a text, a turn ends with another token than a text."""
    tokenizer: PreTrainedTokenizerFast = deepcopy(shaped("llama 3"))
    tokenizer.eos_token = "<|end_of_text|>"
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def test_rendered_text_gets_no_second_bos_and_no_eos_after_the_end_of_its_turn() -> None:
    tokenizer = bos_and_turns()
    prompt = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    for document in (pair(prompt, "hello<|eot_id|>"), text(prompt + "hello<|eot_id|>")):
        assert tokenizer.decode(encode(document, tokenizer).ids) == prompt + "hello<|eot_id|>"
    trailing = encode(pair(prompt, "hello<|eot_id|>\n"), tokenizer)
    assert tokenizer.decode(trailing.ids) == prompt + "hello<|eot_id|>\n"
    assert learned(trailing, tokenizer=tokenizer) == "hello<|eot_id|>"
    plain = "<|begin_of_text|>hi<|end_of_text|>"
    assert tokenizer.decode(encode(text("hi"), tokenizer).ids) == plain
    assert tokenizer.decode(encode(text(plain), tokenizer).ids) == plain
    for eos in (True, False):  # an eos that the tokenizer adds by itself is no second end either
        assert encode(text("<s>ab</s>"), llama_like(eos)).ids.tolist().count(2) == 1
        assert encode(text("<s>ab</s>"), llama_like(eos)).ids.tolist().count(1) == 1
    tokenizer.chat_template = None  # a base model that has the tokens of its sibling
    assert tokenizer.decode(encode(pair(prompt, "hello<|eot_id|>"), tokenizer).ids) == prompt + "hello<|eot_id|>"


def test_prompts_of_panels_and_answers_get_no_second_bos_either() -> None:
    tokenizer = bos_and_turns()
    prompt = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    for context in (prompt, "hi"):
        (asked, _), *_ = encode_pairs([(context, [" yes"])], tokenizer, beginning(tokenizer))
        assert tokenizer.decode(asked) == "<|begin_of_text|>" + context.removeprefix("<|begin_of_text|>")
        assert text_prompt(tokenizer, context, whole=True)[1] == asked


def test_a_chat_learns_its_assistant_and_no_eos_is_added() -> None:
    encoded = encode(chat(("user", "q"), ("assistant", "a b"), ("user", "r"), ("assistant", "c")))
    assert learned(encoded) == "a b<|im_end|>c<|im_end|>"
    assert (encoded.ids == 0).sum() == 0
    assert encoded.token_bytes[encoded.routes >= 0].sum() == 4


def test_the_end_of_a_turn_is_no_text_though_it_is_no_special_token() -> None:
    encoded = encode(chat(("user", "q"), ("assistant", "a b")), shaped("chatml, no special"))
    assert learned(encoded, tokenizer=shaped("chatml, no special")) == "a b<|im_end|>"
    assert encoded.token_bytes[encoded.routes >= 0].tolist() == [1, 1, 1, 0]


def test_tool_messages_are_domain_and_answers_general() -> None:
    routes = {"tool": "domain", "assistant": "general"}
    document = chat(("user", "q"), ("assistant", "look"), ("tool", "facts"), ("assistant", "so"))
    for template in (None, THINKING_TEMPLATE):
        tokenizer = pico_tokenizer(template) if template else pico_tokenizer()
        encoded = encode(document, tokenizer, section(routes=routes))
        assert learned(encoded) == "facts"
        assert learned(encoded, GENERAL) == "look<|im_end|>so<|im_end|>"


def test_a_message_route_wins_and_makes_it_learned() -> None:
    document = chat(Part("user", "q", route="general"), Part("assistant", "a", route="general"), ("assistant", "b"))
    encoded = encode(document)
    assert learned(encoded, GENERAL) == "qa<|im_end|>"
    assert learned(encoded) == "b<|im_end|>"


def test_prompt_side_messages_are_context() -> None:
    document = chat(
        Part("assistant", "x", context=True), Part("user", "y", "general", context=True), ("assistant", "z")
    )
    encoded = encode(document)
    assert (learned(encoded), learned(encoded, GENERAL)) == ("z<|im_end|>", "y")


def test_order_is_kept_across_kinds_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 40)
    documents = [text("a" * 20), chat(("assistant", "b")), text("c"), text("d" * 50), chat(("assistant", "e"))]
    encoder = Encoder(pico_tokenizer(), "domain", section(), TABLE)
    alone = [encode(document) for document in documents]
    batches = list(encoder.encode(documents))
    assert [len(batch.lengths) for batch in batches] == [2, 2, 1]
    for name in ("ids", "routes", "token_bytes", "lengths", "labels"):
        whole = np.concatenate([getattr(batch, name) for batch in batches])
        assert np.array_equal(whole, np.concatenate([getattr(encoded, name) for encoded in alone]))
    ends = [pico_tokenizer().decode(encoded.ids[-3:]) for encoded in alone]
    assert ends == ["aa<|endoftext|>", "b<|im_end|>\n", "c<|endoftext|>", "dd<|endoftext|>", "e<|im_end|>\n"]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab é€😀漢\n\t❤️"), min_size=1, max_size=30))
def test_bytes_of_a_document_are_exact(content: str) -> None:
    for tokenizer in (pico_tokenizer(), llama_like()):
        encoded = encode(text(content), tokenizer)
        assert encoded.token_bytes.sum() == len(content.encode())
        assert (encoded.token_bytes >= 0).all()
    assert encode(text(content)).token_bytes[:-1].tolist() == [1] * len(content.encode())


def test_a_batch_is_its_documents() -> None:
    """Whatever stands beside a document: empty texts, emoji in pieces, special tokens spelt out, chats."""
    draw = np.random.default_rng(0)
    pieces = ["a", " b", "é", "😀", "❤️", "<|endoftext|>", "\n", "漢"]
    documents: list[Document] = [text("")]
    for _ in range(200):
        content = "".join(draw.choice(pieces, draw.integers(0, 8)))
        plain, other = text(content), pair(content, "".join(draw.choice(pieces, 3)))
        documents.append([plain, other, chat(("user", "q" + content), ("assistant", "r"))][draw.integers(3)])
    for tokenizer in (pico_tokenizer(), llama_like(eos=True)):
        tokenizer.chat_template = tokenizer.chat_template or THINKING_TEMPLATE
        for settings_of in (section(), section(append_eos=False)):
            encoder = Encoder(tokenizer, "domain", settings_of, TABLE)
            alone = [next(encoder.encode([document])) for document in documents]
            (batch,) = encoder.encode(documents)
            for name in vars(batch):
                assert np.array_equal(getattr(batch, name), np.concatenate([getattr(e, name) for e in alone]))


def bytes_of_one(
    ends: NDArray[np.int64], special: NDArray[np.bool_], codepoints: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """The plain form of bytes_of_tokens: one document at a time."""
    widths = 1 + (codepoints > 0x7F).astype(np.int64) + (codepoints > 0x7FF) + (codepoints > 0xFFFF)
    position = np.concatenate([[0], np.cumsum(widths)])
    reached = np.maximum.accumulate(position[ends]) if len(ends) else position[:0]
    covered = np.diff(reached, prepend=0)
    result = np.zeros(len(ends), dtype=np.int64)
    plain = np.flatnonzero(~special)
    if len(plain) == 0:
        return result
    covered[plain[-1]] += position[-1] - reached[-1]
    covered = covered[plain]
    group = np.maximum(np.cumsum(covered > 0) - 1, 0)
    for number in np.unique(group):
        members = plain[group == number]
        total = int(covered[group == number].sum())
        for place, member in enumerate(members):
            result[member] = total // len(members) + (place < total % len(members))
    return result


token = st.tuples(st.integers(0, 6), st.booleans())
several = st.lists(
    st.tuples(st.text(alphabet="aé€😀", max_size=6), st.lists(token, max_size=6)), min_size=1, max_size=5
)


@settings(max_examples=300, deadline=None)
@given(several)
def test_bytes_of_a_batch_are_those_of_each_document(documents: list[tuple[str, list[tuple[int, bool]]]]) -> None:
    sizes = np.array([len(content) for content, _ in documents])
    counts = np.array([len(tokens) for _, tokens in documents])
    texts = Texts(np.cumsum(sizes + 1) - sizes - 1, sizes, np.cumsum(counts) - counts, counts)
    ends, special, expected = [], [], []
    for first, (content, tokens) in zip(texts.first_slot, documents, strict=True):
        here = np.array([min(end, len(content)) for end, _ in tokens], dtype=np.int64)
        marked = np.array([mark for _, mark in tokens], dtype=bool)
        codepoints = np.frombuffer(content.encode("utf-32-le"), dtype=np.uint32)
        expected.append(bytes_of_one(here, marked, codepoints))
        ends.append(first + here)
        special.append(marked)
    joined = np.frombuffer("".join(content + "\0" for content, _ in documents).encode("utf-32-le"), dtype=np.uint32)
    found = bytes_of_tokens(np.concatenate(ends), np.concatenate(special), joined, texts)
    assert found.tolist() == np.concatenate(expected).tolist()


def test_dropped_characters_count_for_their_neighbour() -> None:
    codepoints = np.frombuffer("  aé  b \0".encode("utf-32-le"), dtype=np.uint32)
    texts = Texts(np.array([0]), np.array([8]), np.array([0]), np.array([3]))
    ends, special = np.array([3, 4, 7]), np.zeros(3, dtype=bool)
    assert bytes_of_tokens(ends, special, codepoints, texts).tolist() == [3, 2, 4]
    assert bytes_of_tokens(ends, np.array([False, True, False]), codepoints, texts).tolist() == [3, 0, 4]
    assert bytes_of_tokens(ends, np.ones(3, dtype=bool), codepoints, texts).tolist() == [0, 0, 0]
    none = Texts(np.array([0]), np.array([8]), np.array([0]), np.array([0]))
    assert bytes_of_tokens(ends[:0], special[:0], codepoints, none).tolist() == []


def test_offsets_are_required() -> None:
    class Slow:
        is_fast = False

    with refused("The tokenizer Slow gives no character offsets, … (tokenizer.json) …", ModelError):
        Encoder(Slow(), "domain", section(), TABLE)
