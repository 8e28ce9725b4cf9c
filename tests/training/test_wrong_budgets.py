"""Budgets that cannot be, and what the sentence says that each gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acclimate.build.plan import compose
from acclimate.config.chosen.retain import RetainSection
from acclimate.config.load import parse_config
from acclimate.methods.registry import METHODS
from acclimate.types.errors import ConfigError, listed
from acclimate.verbs.validate import validate
from tests.fixtures.runs import config, settings
from tests.fixtures.sentences import refused

WATCHED: dict[str, Any] = {"evaluation": {"validation_documents": 2}, "training": {"eval_steps": 2}}
STRONG = listed([name for name, method in METHODS.items() if method.facts.strength])


def budgeted(retain: Any, **changes: Any) -> Any:
    return parse_config(settings(Path("m"), Path("c"), Path("o"), **(WATCHED | {"retain": retain} | changes)))


def test_what_is_written_is_what_is_meant() -> None:
    for written, meant in (("1%", 0.01), ("+1 %", 0.01), (" 0.5% ", 0.005), (0.02, 0.02), ("0.02", 0.02)):
        assert budgeted({"bits_per_byte": written}).retain.bits_per_byte == pytest.approx(meant)
    found = budgeted({"kl": {"chat": 0.03, "general": "0.05"}}).retain
    assert found.kl == {"chat": 0.03, "general": 0.05}
    again = RetainSection.model_validate(found.model_dump(mode="json"))
    assert again == found
    assert budgeted({"kl": 0.05}).training.final == "best"  # in effect, and so in config.yaml


@pytest.mark.parametrize(
    ("retain", "sentence"),
    [
        (
            {"kl": 0},
            "configuration: retain.kl: 0 allows no change at all, …; accepted: a number above 0 such as 0.05 …",
        ),
        ({"kl": -0.1}, "configuration: retain.kl: -0.1 allows no change …"),
        ({"kl": "little"}, "configuration: retain.kl: 'little' is no budget; accepted: a number such as 0.05 …"),
        ({"kl": float("nan")}, "configuration: retain.kl: nan is no budget; …"),
        ({"kl": True}, "configuration: retain.kl: True is no budget; …"),
        ({"kl": "5%"}, "configuration: retain.kl: '5%' is a part, and kl is in nats a token: …"),
        ({"kl": {}}, "configuration: retain.kl: is an empty mapping; accepted: a number, or …"),
        ({"kl": {"chat": 0}}, "configuration: retain.kl: chat: 0 allows no change …"),
        ({"bits_per_byte": 1}, "configuration: retain.bits_per_byte: 1 is a rise by 100%; write '1%' …"),
        ({"bits_per_byte": "1"}, "configuration: retain.bits_per_byte: 1 is a rise by 100%; write '1%' …"),
        ({"bits_per_byte": "-1%"}, "configuration: retain.bits_per_byte: -1 allows no change …"),
        ({"bits_per_byte": "x%"}, "configuration: retain.bits_per_byte: 'x%' is no budget; …"),
        ({}, "configuration: retain: needs exactly one of kl … and bits_per_byte …, got none."),
        ({"kl": 0.1, "bits_per_byte": "1%"}, "configuration: retain: needs exactly one …, got kl and bits_per_byte."),
        ({"kl": 0.1, "low": 3}, "configuration: retain: low 3 and high 10 are no bounds …; accepted: 0 < low <= 1 …"),
        ({"kl": 0.1, "low": 1, "high": 1}, "configuration: retain: low 1 and high 1 are no bounds …"),
        ({"kl": 0.1, "low": 0}, "configuration: retain: low 0 and high 10 are no bounds …"),
        ({"kl": 0.1, "steer": False, "high": 9}, "configuration: retain: low and high have no effect with steer: …"),
        (
            {"kl": {"cat": 0.1}},
            "configuration: retain.kl.cat: there is no set 'cat'; accepted: general or chat. Did you mean 'chat'?",
        ),
        ({"bl": 0.1}, "configuration: retain.bl: there is no such key. …"),
    ],
)
def test_a_budget_that_cannot_be(retain: Any, sentence: str) -> None:
    with refused(sentence, ConfigError):
        budgeted(retain)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"evaluation": {}}, "configuration: retain: … set evaluation.validation_documents …"),
        (
            {"training": {"eval_steps": 2, "final": "last"}},
            "configuration: training.final: last has no effect with retain, …",
        ),
    ],
)
def test_a_run_that_cannot_keep_one(changes: dict[str, Any], sentence: str) -> None:
    with refused(sentence, ConfigError):
        budgeted({"kl": 0.1}, **changes)


def test_a_set_that_holds_nothing_out() -> None:
    data = settings(Path("m"), Path("c"), Path("o"), retain={"kl": {"chat": 0.1}}, **WATCHED)
    data["sources"]["chat"]["heldout"] = 0
    with refused(
        "configuration: retain.kl.chat: 'chat' holds no documents out, …; set sources.chat.heldout.", ConfigError
    ):
        parse_config(data)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("sft", f"retain: 'sft' declares no strength …; methods that do: {STRONG}. Or set retain.steer: false, …"),
        ({"name": "mol", "kl_weight": 0}, "method.kl_weight: 0 leaves a forgetting budget … nothing to move; …"),
        ({"name": "wise", "alpha": 0.3}, "configuration: method: alpha has no effect with retain, …"),
    ],
)
def test_a_method_that_cannot_keep_one(method: Any, sentence: str) -> None:
    with refused(sentence, ConfigError):
        compose(budgeted({"kl": 0.1}, method=method))


def test_a_source_with_a_divergence_of_its_own_can() -> None:
    data = settings(Path("m"), Path("c"), Path("o"), method="sft", retain={"kl": 0.1}, **WATCHED)
    del data["sources"]["chat"]
    data["sources"]["general"]["terms"] = {"forward_kl": 0.5}
    terms = compose(parse_config(data)).terms
    assert [(term.name, term.anchors, term.strength is not None) for term in terms] == [
        ("cross_entropy", (), False),
        ("forward_kl", ("general",), True),
    ]


def test_sets_that_are_known_with_the_text(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Which role a source has may follow from its records."""
    with refused("retain.kl.domain: 'domain' is of role domain, …; accepted: general or chat.", ConfigError):
        validate(config(pico_folder, corpora, tmp_path, retain={"kl": {"domain": 0.1}}, **WATCHED))
    only = {"domain": {"path": str(corpora / "domain.jsonl"), "heldout": 4}}
    data = settings(pico_folder, corpora, tmp_path, method="l2", retain={"kl": 0.1}, **WATCHED) | {"sources": only}
    with refused("retain.kl: a budget is measured on held-out text that is not the domain's, …", ConfigError):
        validate(parse_config(data))
    found = validate(config(pico_folder, corpora, tmp_path, retain={"kl": 0.1}, **WATCHED)).warnings
    assert any("kept by 2 validation documents a set ('general' or 'chat')" in note for note in found)


def test_documents_of_one_group_leave_nothing_to_report(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    """Near duplicates are never on both sides, so a count alone does not tell what is left."""
    with refused(
        "evaluation.validation_documents: 2 leaves none of the 7 held-out documents of 'chat' to report, as all others "
        "belong to groups of theirs (sources.chat.group); lower it, or hold out more (sources.chat.heldout).",
        ConfigError,
    ):
        validate(config(pico_folder, corpora, tmp_path, data={"split": "validation"}, **WATCHED))
