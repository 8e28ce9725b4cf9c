"""What is learned of chats of all kinds, under templates in the shapes of published ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.config.source_schema import SourceSection
from acclimate.data.chat.rendering import ChatTemplate, Rendered, turn_end, turn_end_ids
from acclimate.data.prepare.encoding import Encoder
from acclimate.data.prepare.routes import NOT_LEARNED
from acclimate.data.read.records import Document, RecordSchema
from acclimate.types.central import Route
from acclimate.types.errors import DataError
from tests.fixtures.templates import SHAPES, shaped

WORD = re.compile(r"\w+")
END = {
    "llama 2": " </s>", "llama 3": "<|eot_id|>", "llama 3.1": "<|eot_id|>", "mistral v1": "</s>", "mistral v3": "</s>",
    "mistral v7": "</s>", "gemma 2": "<end_of_turn>", "gemma 3": "<end_of_turn>", "phi 3": "<|end|>",
    "deepseek r1": "<|eos|>", "deepseek v3.1": "<|eos|>", "command-r": "<|END_OF_TURN_TOKEN|>",
    "command-r7b": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", "granite 3.3": "<|end_of_text|>",
    "olmo 2": "<|endoftext|>", "zephyr": "</s>", "newline": "\n</s>", "vicuna": "</s>", "glm 4": "<|user|>",
    "apertus": "<|assistant_end|>",
}  # fmt: skip
UNEQUAL = {  # the last answer, and the one before
    "gpt-oss": ("<|return|>", ""), "falcon 3": ("<|endoftext|>", ""), "alpaca": ("</s>", ""), "minicpm": ("</s>", ""),
}  # fmt: skip
OF_CALLS = ("<|call|>", "<|observation|>", "<|tools_suffix|>")


def document(messages: list[dict[str, Any]], tools: list[Any] | None = None) -> Document | None:
    record = {"messages": messages} | ({"tools": tools} if tools else {})
    return RecordSchema("law", SourceSection(path="a")).document(record, "a.jsonl:1")


def rendered(name: str, messages: list[dict[str, Any]], thinking: Any = None, tools: Any = None) -> Rendered:
    row = document(messages, tools)
    assert row is not None
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    return ChatTemplate(shaped(name)).render(row, thinking, answers)


def learned(name: str, messages: list[dict[str, Any]], thinking: Any = None, tools: Any = None) -> list[str]:
    found = rendered(name, messages, thinking, tools)
    return [found.text[span.start : span.end] for span in found.spans]


def turns(*contents: str) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def call(arguments: Any, name: str = "weather") -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


ASKED = {"role": "user", "content": "Weather?"}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("name", SHAPES)
def test_answers_are_learned_with_their_end(name: str) -> None:
    """One exact chat under every shape, so that no shape only ever refuses."""
    last, earlier = UNEQUAL.get(name, (END.get(name, "<|im_end|>"),) * 2)
    assert learned(name, turns("one", "first answer", "two", "second")) == [f"first answer{earlier}", f"second{last}"]
    assert learned(name, turns("one", "answer")) == [f"answer{last}"]
    found = turn_end(ChatTemplate(shaped(name)))
    assert (found.last, found.earlier) == (last, earlier)
    assert found.added == (name in ("glm 4", "apertus", "alpaca", "minicpm"))
    tokens = shaped(name).convert_ids_to_tokens(list(turn_end_ids(shaped(name))))
    spelt = last.strip().removeprefix("<|END_RESPONSE|>")
    assert [t for t in tokens if t not in OF_CALLS] == ([spelt] if name != "chatml, plain text" else [])


@pytest.mark.parametrize("given", ['{"city": "Paris"}', {"city": "Paris"}])
def test_arguments_are_learned_as_json_however_they_are_given(given: Any) -> None:
    for name, text in {
        "qwen 2.5": '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>',
        "llama 3.1": '{"name": "weather", "parameters": {"city": "Paris"}}<|eot_id|>',
        "mistral v3": '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}}]</s>',
        "mistral v7": '[TOOL_CALLS]weather[ARGS]{"city": "Paris"}</s>',
        "raw arguments": '<call>weather {"city": "Paris"}</call><|im_end|>',
        "deepseek r1": '<|call|>weather\n```json\n{"city": "Paris"}\n```<|end_call|><|eos|>',
        "gpt-oss": ' to=functions.weather<|channel|>commentary json<|message|>{"city": "Paris"}<|call|>',
        "glm 4": "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
        "<|observation|>",
    }.items():
        assert learned(name, [ASKED, call(given)]) == [text], name
        bare = {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": given}]}
        if name == "qwen 2.5":
            assert learned(name, [ASKED, bare]) == [text]


def test_no_arguments_are_an_empty_object() -> None:
    for nothing in ("", "{}", {}):
        assert '"arguments": {}}' in learned("qwen 2.5", [ASKED, call(nothing)])[0]


def test_arguments_that_are_never_json_are_refused() -> None:
    with pytest.raises(DataError, match=r"^a\.jsonl:1: the arguments of the tool call in message 2 .* not as JSON"):
        learned("qwen 2.5", [ASKED, call('{"city": "Par')])


@pytest.mark.parametrize("name", ["smollm2", "chatml", "lfm2", "granite 3.3", "gemma 3", "zephyr"])
def test_tool_calls_that_a_template_does_not_print_are_refused(name: str) -> None:
    for content in ("", "Let me look."):
        messages = [ASKED, call({"city": "Paris"}) | {"content": content}, *turns("20", "20 degrees.")]
        if content and "tool_calls" in SHAPES[name].template:
            continue
        with pytest.raises(
            DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) has a tool call \('tool_calls'\) that"
        ):
            learned(name, messages)


def test_text_beside_a_call_must_be_printed() -> None:
    both = [ASKED, call({"city": "Paris"}) | {"content": "Let me look."}]
    assert learned("hermes", both)[0].startswith("Let me look.<tool_call>")
    with pytest.raises(
        DataError, match=r"message 2 \(assistant\) has a content \('content'\) that the model's chat templ"
    ):
        learned("llama 3.1", both)


def test_words_of_the_template_hide_no_loss() -> None:
    """What is dropped is missed though its words stand in the turn, as the template's own or as another message's."""
    for key, said in (("content", "name"), ("reasoning_content", "parameters")):
        with pytest.raises(
            DataError, match=rf"message 2 \(assistant\) has .* \('{key}'\) that the model's chat template"
        ):
            learned("llama 3.1", [ASKED, call({"city": "Paris"}) | {key: said}])
    row = document(
        [{"role": "user", "content": "weather city Paris"}, call({"city": "Paris"}) | {"weight": 0}, *turns("q", "a")]
    )
    assert row is not None
    notes = ChatTemplate(shaped("lfm2")).render(row, wanted=[3]).notes
    assert ("unread", "the tool call of assistant messages that are context") in notes


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_that_a_template_ignores_is_refused(key: str) -> None:
    for name in ("deepseek r1", "chatml", "llama 3", "smollm3"):
        with pytest.raises(DataError, match=rf"message 2 \(assistant\) has reasoning \('{key}'\) that the model's"):
            learned(name, [*turns("q"), {"role": "assistant", "content": "a", key: "long thoughts"}])


def test_reasoning_of_earlier_answers_that_is_cut_makes_them_context() -> None:
    thought = "<think>\n{}\n</think>\n\n{}"
    messages = turns("q1", thought.format("r1", "a1"), "q2", thought.format("r2", "a2"))
    found = rendered("qwen 3", messages)
    assert [found.text[span.start : span.end] for span in found.spans] == [thought.format("r2", "a2") + "<|im_end|>"]
    assert found.notes == (("cut", ""),)
    assert learned("chatml", messages) == [c + "<|im_end|>" for c in (messages[1]["content"], messages[3]["content"])]


def test_reasoning_is_not_learned_where_the_mode_asks_for_none() -> None:
    messages = [*turns("q"), {"role": "assistant", "content": "a", "reasoning_content": "long thoughts"}]
    assert learned("qwen 3", messages, "on") == ["<think>\nlong thoughts\n</think>\n\na<|im_end|>"]
    for row in (messages, turns("q", "<think>\nlong thoughts\n</think>\n\na")):
        with pytest.raises(DataError, match=r"^a\.jsonl:1: message 2 \(assistant\) is not found"):
            learned("qwen 3", row, "off")
    found = rendered("qwen 3", [*messages, *turns("r", "b")], "off")
    assert [found.text[span.start : span.end] for span in found.spans] == ["b<|im_end|>"]
    assert ("cut", "") in found.notes


def test_a_generation_prompt_that_opens_what_training_never_shows_is_noted() -> None:
    for name in ("deepseek r1", "qwq"):
        assert ("opened", "'<think>'") in rendered(name, turns("q", "a")).notes
    assert rendered("qwq", turns("q", "<think>\nr\n</think>\n\na")).notes == ()
    assert learned("qwq", turns("q", "<think>\nr\n</think>\n\na")) == ["r\n</think>\n\na<|im_end|>"]
    for name in ("qwen 3", "qwen 3.5", "smollm3"):
        for thinking in ("on", "off", None):
            assert rendered(name, turns("q", "a"), thinking).notes == (), name


def test_reasoning_in_parts_that_is_not_read_is_noted() -> None:
    parts = [*turns("q"), {"role": "assistant", "content": "a", "reasoning_content": [{"text": "long thoughts"}]}]
    assert rendered("llama 3", parts).notes == (("unread", "'reasoning_content' of assistant messages"),)


def test_an_empty_block_of_reasoning_before_a_call_is_not_learned() -> None:
    for name in ("qwen 3", "qwen 3.5", "glm 4"):
        found = rendered(name, [ASKED, call({"city": "Paris"})])
        assert re.search(r"</think>\s*$", found.text[: found.spans[0].start]), name
        assert found.text[found.spans[0].start :].startswith("<tool_call>")


def test_answers_without_text_are_context() -> None:
    for blank in ("", "  \n"):
        found = rendered("chatml", turns("q", blank, "r", "a"))
        assert [found.text[span.start : span.end] for span in found.spans] == ["a<|im_end|>"]
        assert found.notes == (("empty", ""),)
        assert document(turns("q", blank)) is None


def test_keys_and_contents_that_are_not_read_are_noted() -> None:
    messages = [{"role": "user", "content": "q", "id": 7}, {"role": "assistant", "content": "a", "name": "Ada"}]
    assert set(rendered("chatml", messages).notes) == {
        ("unread", "'id' of user messages"), ("unread", "'name' of assistant messages"),
    }  # fmt: skip
    assert rendered("mistral v3", turns("q", "a"), tools=TOOLS).notes == (("unread", "'tools'"),)
    assert rendered("qwen 2.5", turns("q", "a"), tools=TOOLS).notes == ()
    silent = [{"role": "system", "content": "Be brief."}, *turns("q", "a")]
    assert rendered("chatml", silent).notes == ()
    shaped_without_system = SHAPES["minicpm"].template.replace("{% else %}", "{% elif m.role == 'assistant' %}")
    tokenizer = shaped("minicpm")
    tokenizer.chat_template = shaped_without_system
    try:
        assert rendered("minicpm", silent).notes == (("unread", "the content of system messages"),)
    finally:
        tokenizer.chat_template = SHAPES["minicpm"].template


BLANKS = st.sampled_from(["", "", " ", "\n", "\n\n", "  "])
PIECES = st.lists(st.sampled_from(["kid", "é", "漢字", "😀", "a<b", '"q"', "x\ny", "it's", "…", "\t"]), max_size=3)


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Messages whose every word is theirs alone, and perhaps tools."""
    number = iter(range(100))

    def text(kind: str, empty: bool = False) -> str:
        if empty and draw(st.integers(0, 7)) == 0:
            return str(draw(BLANKS))
        own = f"{kind}{next(number)}x"
        return str(draw(BLANKS)) + " ".join([own, *draw(PIECES), own + "z"]) + str(draw(BLANKS))

    def answer(calling: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": text("a", empty=True)}
        if way == "inline":
            message["content"] = f"<think>\n{text('r').strip()}\n</think>\n\n{text('a').strip()}"
        elif way:
            message[way] = text("r")
        if calling:
            given = [
                {text("k").strip(): draw(st.sampled_from([text("v"), 12345, True, [text("v")]]))}
                for _ in range(draw(st.integers(1, 2)))
            ]
            message["tool_calls"] = [
                {"id": "c1", "function": {"name": f"f{next(number)}x", "arguments": json.dumps(g) if as_text else g}}
                for g, as_text in zip(given, draw(st.tuples(st.booleans(), st.booleans())), strict=False)
            ]
            message["content"] = draw(st.sampled_from(["", message["content"]]))
        return message

    way = draw(st.sampled_from(["", "", "", "inline", "inline", "reasoning_content", "thinking"]))
    messages = [{"role": "system", "content": text("s")}] if draw(st.integers(0, 2)) == 0 else []
    tools = draw(st.integers(0, 2)) == 0
    for _ in range(draw(st.integers(1, 2))):
        messages.append(
            {"role": "user", "content": text("u")} | ({"name": "n"} if draw(st.integers(0, 5)) == 0 else {})
        )
        if tools:
            messages += [answer(True), {"role": "tool", "content": text("t"), "name": "f"}]
        messages.append(answer(False))
    return messages, [{"type": "function", "function": {"name": "tool"}}] if tools and draw(st.booleans()) else None


def words(value: Any) -> set[str]:
    """All words of a JSON value, whether it is printed as it is, escaped, or parsed first."""
    if isinstance(value, dict):
        return set().union(*(words(key) | words(inner) for key, inner in value.items()))
    if isinstance(value, list):
        return set().union(set(), *(words(inner) for inner in value))
    found = set(WORD.findall(json.dumps(value))) | set(WORD.findall(str(value))) | {"true", "false", "null"}
    if isinstance(value, str) and value.startswith("{"):
        found |= words(json.loads(value))
    return found | set(WORD.findall(json.dumps(value, ensure_ascii=False)))


def own(message: dict[str, Any]) -> set[str]:
    """The words that only this message has."""
    return {word for word in words(message) if re.fullmatch(r"[a-z]\d+xz?", word)}


def test_nothing_is_learned_that_is_not_in_the_row_and_nothing_is_lost_in_silence() -> None:
    outcomes: Counter[str] = Counter()

    names = sorted(SHAPES)

    @settings(max_examples=90, deadline=None, derandomize=True)
    @given(rows(), st.integers(0, len(names) - 1), st.sampled_from(["on", "off", None]))
    def check(row: tuple[list[dict[str, Any]], list[Any] | None], first: int, thinking: Any) -> None:
        for step in range(3):
            check_one(names[(first + 13 * step) % len(names)], *row, thinking)

    def check_one(name: str, messages: list[dict[str, Any]], tools: list[Any] | None, thinking: Any) -> None:
        if document(messages, tools) is None:
            outcomes["empty"] += 1
            return
        try:
            found = rendered(name, messages, thinking, tools)
        except DataError:
            outcomes["refused"] += 1
            return
        outcomes["rendered"] += 1
        outcomes[name] += 1
        spans = {span.part_index: found.text[span.start : span.end] for span in found.spans}
        kinds = {kind for kind, _ in found.notes}
        template = set(WORD.findall(SHAPES[name].template)) | {w for s in SHAPES[name].special for w in WORD.findall(s)}
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                assert own(message) <= set(WORD.findall(found.text)) or "unread" in kinds
            elif i in spans:
                outcomes["learned"] += 1
                outcomes["calls"] += "tool_calls" in message
                assert own(message) <= set(WORD.findall(spans[i].replace("\\n", " ").replace("\\t", " "))), spans[i]
                assert set(WORD.findall(spans[i])) <= template | words(message) | {"tn", "nn"}, spans[i]
                last, earlier = UNEQUAL.get(name, (END.get(name, "<|im_end|>"),) * 2)
                ended = last if i == len(messages) - 1 else earlier
                assert spans[i].endswith((*OF_CALLS, ended) if "tool_calls" in message else ended), spans[i]
            else:
                outcomes["context"] += 1
                silent = not message["content"].strip() and "tool_calls" not in message
                assert ("empty" if silent else "cut") in kinds
        section = SourceSection(path="a", thinking=thinking)
        row_of = document(messages, tools)
        assert row_of is not None
        (encoded,) = Encoder(shaped(name), "law", section, (Route("law", "law"),)).encode([row_of])
        labels = encoded.ids[encoded.routes != NOT_LEARNED].tolist()
        assert shaped(name).decode(labels) == "".join(text for _, text in sorted(spans.items()))

    check()
    assert outcomes["rendered"] > 80
    assert outcomes["learned"] > 80
    assert outcomes["calls"] > 5
    assert outcomes["context"] > 5
    assert sum(outcomes[name] > 0 for name in SHAPES) >= 25
