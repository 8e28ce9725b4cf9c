"""`acclimate init` on a pico model: what it looks at, what it writes, and that its policy passes its own check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from acclimate.cli import main
from acclimate.config.load import load_config, parse_config
from acclimate.config.template import DEFAULT_MODEL, Suited
from acclimate.gates.policy import load_policy
from acclimate.types.errors import ConfigError, DataError, ModelError, UsageError
from acclimate.verbs.draft import check_policy, suited_to, write_policy
from acclimate.verbs.memory import GIB, Room, gpu_of
from tests.fixtures.sentences import refused, says

TEXT = "The kidney filters blood in ward {} and the nurse writes it down."


def folder(place: Path, documents: int) -> Path:
    place.mkdir(parents=True)
    for number in range(documents):
        (place / f"{number}.txt").write_text(TEXT.format(number))
    return place


def acclimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["acclimate", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out + err


def test_a_domain_folder_alone_is_enough(
    pico_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What init writes validates as it is, and so does its policy."""
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data" / "domain", 60)
    code, said = acclimate(monkeypatch, capsys, "init", "--model", str(pico_folder), "--policy")
    assert code == 0, said
    assert says(said, "… instruct: it has a chat template. Memory: … GiB …")
    assert "there is no data/general, so the model writes it itself (general: self)" in said
    config = load_config("acclimate.yaml")
    assert config.sources["general"].is_self
    assert config.sources["domain"].heldout == config.sources["domain"].share == "auto"
    cache = ("--set", f"data.cache_dir={tmp_path}/cache")
    words = ("validate", "acclimate.yaml", "--policy", "acclimate.gate.yaml", "--gpu", "0.5GB", *cache)
    code, said = acclimate(monkeypatch, capsys, *words)
    assert "every rule is about a set that this run measures" in said
    assert "The run does not fit" in said
    assert code == 1


def test_general_text_that_is_there_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("acclimate.verbs.draft.suited.HfApi.model_info", unreachable)
    folder(tmp_path / "data" / "general", 1)
    code, said = acclimate(monkeypatch, capsys, "init", "new.yaml")
    assert code == 0, said
    assert "General text: data/general, which is there." in said
    assert "there is no 'data/domain' yet" in said
    assert f"'{DEFAULT_MODEL}' is not on this machine yet" in said
    assert load_config("new.yaml").sources["general"].path == "data/general"


def unreachable(*args: Any, **options: Any) -> None:
    raise OSError("no route to host")


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        suited_to(str(tmp_path))


def test_what_suits_a_model_and_a_machine(pico_folder: Path) -> None:
    wide, said = suited_to(str(pico_folder), gpu_of("24GB"))
    assert wide.length == 512
    assert wide.longest == 256  # a prompt needs room, too
    assert (wide.rows, wide.checkpointing, wide.nf4) == (2, False, False)
    assert "24.0 GiB on a GPU of 24GB" in said[0]
    none, said = suited_to(str(pico_folder), Room(GIB // 2, "on a GPU of 0.5GB", 0.9))
    assert (none.rows, none.checkpointing) == (1, True)
    assert says(said[1], "The run does not fit: … Even --set … A smaller model, …")


@pytest.mark.parametrize("text", ["24 lb", "GB", "-1GB", "0", "1e3"])
def test_no_size(text: str) -> None:
    with refused(f"--gpu: '{text}' is no size of a GPU's memory; write it as 24GB.", UsageError):
        gpu_of(text)


def written(place: Path, pico: Path, domain: int, general: str) -> Path:
    """A configuration as init writes it, with so many documents of the domain."""
    from acclimate.config.template import write_template

    path = place / "a.yaml"
    write_template(path, str(folder(place / "texts", domain)), general, str(pico), Suited())
    return path


def test_a_policy_leaves_out_what_cannot_be_judged(pico_folder: Path, tmp_path: Path) -> None:
    path = written(tmp_path, pico_folder, 30, "self")
    (sentence,) = write_policy(tmp_path / "a.gate.yaml", path)
    assert says(sentence, "… 'domain' has fewer than 40 documents, …")
    assert [*load_policy(tmp_path / "a.gate.yaml").sets] == ["general"]
    with refused("'…a.gate.yaml' exists and is left alone; …", UsageError):
        write_policy(tmp_path / "a.gate.yaml", path)


def test_nothing_to_judge(pico_folder: Path, tmp_path: Path) -> None:
    path = written(tmp_path, pico_folder, 30, str(folder(tmp_path / "few", 3)))
    with refused("--policy: there is nothing that a gate could judge: … 'general' …", DataError):
        write_policy(tmp_path / "a.gate.yaml", path)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"sets": {"wiki": {"max_drop": {"bits_per_byte": "2 %"}}}},
         "…sets.wiki: the run holds no documents of a source 'wiki' out; it measures domain (domain) or chats (chat)."),
        ({"roles": {"general": {"max_drop": {"bits_per_byte": "2 %"}}}},
         "…roles.general: no set of the run will have the role 'general'; it measures …"),
        ({"sets": {"chats": {"max_drop": {"accuracy": "2 points"}}}},
         "…sets.chats.max_drop.accuracy: a run's own text is not measured by accuracy; accepted: …"),
        ({"roles": {"domain": {"min_gain": {"bits_per_byte": "2 %"}}}},
         "…roles.domain: 'domain' will be measured on 8 documents, …"),
    ],
)  # fmt: skip
def test_a_policy_about_what_is_not_measured(rules: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    config = parse_config({"model": {"path": "a"}, "sources": {"domain": {"path": "a"}}, "budget": {"steps": 1}})
    data = {"sources": {
        "domain": {"role": "domain", "heldout_documents": 8, "heldout_groups": 8},
        "chats": {"role": "chat", "heldout_documents": 30, "heldout_groups": 5},
    }}  # fmt: skip
    path = tmp_path / "p.yaml"
    path.write_text(str(rules).replace("'", '"'))
    with refused(sentence, ConfigError):
        check_policy(path, config, data)
    path.write_text('{"sets": {"chats": {"max_drop": {"kl_base_tuned": "0.2 nats/token"}}}}')
    notes = check_policy(path, config, data)
    assert [("passes on 60" in note, "needs 8" in note) for note in notes] == [(True, False), (False, True)]
