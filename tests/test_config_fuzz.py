"""Any configuration at all is either valid or refused with sentences: no other exception, nothing that explodes."""

# ruff: noqa: E501 (sentences stand on one line)

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from acclimate.build.plan import compose
from acclimate.config.load import RunConfig, dump_config, load_config, parse_config
from acclimate.types.errors import AcclimateError, ConfigError
from acclimate.verbs.validate import validate
from tests.fixtures.runs import settings
from tests.fixtures.sentences import says

HERE = Path("/nowhere")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration may ask for a cache in any relative folder."""
    monkeypatch.chdir(tmp_path)


VALID = settings(HERE / "model", HERE, HERE, lora={"rank": 2}, method=[{"name": "mol", "kl_weight": 2.0}, "l2"])
EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1, 5, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e-300, 1e300, float("inf"), float("nan"),
    "", " ", "on", "1e-5", "auto", "null", "é", "\u202e", "\u200b", "日本語", "a" * 5000, "../x", "/", "~", "~x/y", "*", "[",
    "{", "a\nb", "\\", "%s{0}", "https://user:pass@host/x", [], [[]], [1], ["mol", "mol"], [None], {}, {"": 1}, {"name": None},
    {"name": "mol", "kl_weight": "x"}, {"a": {"b": {"c": [1, {"d": 2}]}}}, {"path": "x"}, b"bytes",
]  # fmt: skip
NAMES = [
    "lr",
    "learning_rate",
    "name",
    "kl_weight",
    "",
    ".",
    "a.b",
    "é",
    "__class__",
    "_places",
    "model_config",
    "x" * 300,
]


def paths(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path for key, value in entries for path in [(*above, key), *paths(value, (*above, key))]]


PATHS = paths(VALID)
values = st.one_of(
    st.sampled_from(EXTREMES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=5,
    ),
)
mutations = st.lists(
    st.tuples(
        st.sampled_from(["drop", "rename", "replace", "add"]), st.sampled_from(PATHS), st.sampled_from(NAMES), values
    ),
    min_size=1,
    max_size=3,
)


def mutated(changes: list[tuple[str, tuple[Any, ...], str, Any]]) -> dict[str, Any]:
    data = copy.deepcopy(VALID)
    for kind, path, name, value in changes:
        target: Any = data
        try:
            for key in path[:-1]:
                target = target[key]
            old = target[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if kind == "replace":
            target[path[-1]] = copy.deepcopy(value)
        elif kind == "add" and isinstance(target, dict):
            target[name] = copy.deepcopy(value)
        elif isinstance(target, dict):
            del target[path[-1]]
            if kind == "rename":
                target[name] = old
    return data


def check_sentences(error: AcclimateError) -> None:
    assert str(error)[-1] in ".?)", error
    for line in str(error).splitlines():
        assert len(line) < 6000, line
        line.encode("utf-8")


def outcome(make: Any) -> RunConfig | None:
    """The configuration, or None with sentences; anything else that is raised fails the test."""
    try:
        config: RunConfig = make()
        compose(config)
    except AcclimateError as error:
        check_sentences(error)
        return None
    return config


met: set[bool] = set()


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=mutations)
def test_plain_data(changes: list[tuple[str, tuple[Any, ...], str, Any]]) -> None:
    config = outcome(lambda: parse_config(mutated(changes)))
    met.add(config is None)
    if config is not None:
        assert parse_config(yaml.safe_load(dump_config(config))) == config


def test_both_outcomes_were_met() -> None:
    assert met == {True, False}


@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=mutations, path=st.sampled_from(PATHS), value=st.text(max_size=20) | values.map(str))
def test_files_with_overrides(
    tmp_path_factory: pytest.TempPathFactory, changes: list[Any], path: tuple[Any, ...], value: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text(yaml.dump(mutated(changes), allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    outcome(lambda: load_config(file, [f"{'.'.join(map(str, path))}={value}"]))


TEXT = yaml.safe_dump(VALID, sort_keys=False)
PIECES = [
    "\t", "&a ", "*a", "<<: *a", "---\n", "...\n", "? ", "- ", ": ", "!!python/object/apply:os.system ['true']", "!x ",
    "'", '"', '"\\ud800"', '"\\0"', "{", "}", "[", "]", "|", ">", "#", "%YAML 9.9\n", "@", "`", "\x1b", "\ufeff", "\u2028",
    "name: run\n", "0x" + "f" * 5000, "9" * 5000, "1:30:00", "2026-11-22", "!!binary aGk=", "!!set {a}", "~: 1\n", ".nan: 1\n",
]  # fmt: skip


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(TEXT)), st.integers(0, 6), st.sampled_from(PIECES) | st.text(max_size=4)),
        min_size=1,
        max_size=4,
    )
)
def test_text(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    text = TEXT
    for at, cut, piece in edits:
        text = text[:at] + piece + text[at + cut :]
    file = tmp_path_factory.getbasetemp() / "text.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    outcome(lambda: load_config(file))


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=mutations)
def test_validate(pico_folder: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory, changes: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    real = settings(pico_folder, corpora, folder)

    def made() -> RunConfig:
        data = mutated(changes)
        for section in ("model", "sources", "data"):
            for key, value in real[section].items():
                if isinstance(data.get(section), dict) and data[section].get(key) == VALID[section].get(key):
                    data[section][key] = value
        return validate(parse_config(data)).config

    outcome(made)


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            laughs(12) + f"method: {{name: *a{11}}}\n",
            ":5: … more than 10000 values or 20 levels, …",
        ),
        ("a: &a [*a]\n", ":1: … more than 10000 values or 20 levels, …"),
        ("a: " + "[" * 30 + "]" * 30, ":1: … more than 10000 values or 20 levels, …"),
        ("a: " + "[" * 100_000, ": this is nested too deeply; a configuration is 20 levels at most."),
        ("a: 1\n---\nb: 2\n", ":2: a second document begins here; a configuration is one."),
        ("a:\n\tb: 1\n", ":2: this is not YAML: found character '\\t' …; indent with blanks, …"),
        ("a: !!python/object/apply:os.system ['true']\n", ":1: only plain YAML is read, no tags or merge keys: could not "
         "determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'."),
        ("name: a\nname: b\n", ":2: 'name' is given twice (first in line 1); keep one."),
        ('name: "\\ud800"\n', ":1: no setting holds the character U+D800; take it out."),
        (f"seed: {'9' * 5000}\n", ":1: a value of 5000 characters; no setting is that long."),
        ("? [a]\n: 1\n", ":1: a key must be a word, not a list."),
        ("~: 1\n", ":1: a key must be a word, not nothing."),
        ("- a\n", ": a configuration is a mapping of sections; this file holds a list."),
        ("", ": a configuration is a mapping of sections; this file holds nothing."),
        ("just words\n", ": a configuration is a mapping of sections; this file holds a text."),
    ],
)  # fmt: skip
def test_hostile_documents(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert says(caught.value, f"{file}{sentence}")
    assert time.monotonic() - began < 20


def test_anchors_and_aliases_are_read(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(TEXT.replace("share: 0.25", "share: &quarter 0.25", 1).replace("share: 0.25", "share: *quarter", 1))
    assert "*quarter" in file.read_text()
    assert load_config(file) == parse_config(VALID)


def test_an_override_is_named_as_the_place(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(TEXT)
    for override, sentence in {
        "optimizer.learning_rate=fast": "optimizer.learning_rate: 'fast' is not a number",
        "method.0.kl_weight=2": "'method' is [{'name': 'mol', 'kl_weight': 2.0}, 'l2'], not a section",
        "sources.domain={path: 5}": "sources.domain.path: 5 is not text",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_config(file, [override])
        assert str(caught.value).startswith(f"--set {override}: {sentence}")
