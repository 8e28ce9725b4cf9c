"""`acclimate adapt` on a pico model: the configuration that it writes, what becomes of it, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from acclimate import adapt
from acclimate.cli import main
from acclimate.config.load import load_config
from acclimate.gates.policy import load_policy
from acclimate.paired.ratio import MINIMUM_DOCUMENTS
from acclimate.types.errors import AcclimateError, ConfigError, UsageError
from acclimate.verbs.adapt.asked import Asked
from acclimate.verbs.adapt.rules import Chosen, _held_out, choose
from acclimate.verbs.memory import SPARE, Room
from tests.fixtures.runs import Killed, write_corpora
from tests.fixtures.sentences import quoted

SMALL = ("evaluation.generations=0", "evaluation.memorisation_documents=0", "training.eval_steps=2")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 documents a source, and a folder of ten."""
    folder = write_corpora(tmp_path_factory.mktemp("texts"), documents=120)
    (folder / "ten").mkdir()
    for number in range(10):
        (folder / "ten" / f"{number}.txt").write_text(f"The kidney {number} filters blood. " * (number + 2))
    return folder


def asked(model: Path, domain: Path, general: Path | None, **changes: Any) -> Asked:
    known: dict[str, Any] = {"name": "a", "output_dir": "runs", "keep": 0.05}
    paths = () if general is None else (str(general),)
    return Asked(model=str(model), domain=(str(domain),), general=paths, **known | changes)


def at(chosen: Chosen, path: str) -> Any:
    found: Any = chosen.settings
    for part in path.split("."):
        found = found[part]
    return found


def test_adapt_is_killed_goes_on_reports_and_judges(
    pico_folder: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a command: exit code 2 where the gate fails, 5 where it cannot tell."""
    monkeypatch.chdir(tmp_path)
    words = ["acclimate", "adapt", "--model", str(pico_folder), "--domain", str(texts / "domain.jsonl")]
    words += ["--general", str(texts / "general.jsonl"), "--keep", "0.05", "--tokens", "700", "--name", "med"]
    words += [word for one in (*SMALL, f"data.cache_dir={tmp_path}/cache") for word in ("--set", one)]
    monkeypatch.setattr(sys, "argv", words)
    with monkeypatch.context() as patch:
        patch.setattr("acclimate.verbs.run.run_loop", killed)
        with pytest.raises(Killed):
            main()
    config = load_config("runs/med.yaml")
    assert config.retain is not None
    assert config.retain.kl == 0.0375
    assert load_policy("runs/med.gate.yaml").sets["general"].margins[0][2].value == 0.05
    with pytest.raises(SystemExit) as taken:
        main()
    assert taken.value.code == 3
    monkeypatch.setattr(sys, "argv", [*words, "--resume"])
    with pytest.raises(SystemExit) as caught:
        main()
    out = capsys.readouterr().out
    assert caught.value.code in (None, 0, 2, 5), out
    assert ("PASS" in out) == (not caught.value.code)
    for part in ("Learned: held-out text of the domain takes", "Kept: on other text it drifts", "0.05 were allowed."):
        assert part in out
    for part in ("Model: runs/med/model", "Report: runs/med/report.html", "Next: acclimate chat runs/med --base"):
        assert part in out
    assert 'id="gate"' in Path("runs/med/report.html").read_text()


def killed(training: Any) -> None:
    training.data.close()
    raise Killed


def test_every_choice_has_its_reason_in_the_file(pico_folder: Path, texts: Path) -> None:
    chosen = choose(asked(pico_folder, texts / "domain.jsonl", texts / "general.jsonl"))
    assert at(chosen, "method") == "mol"
    assert "lora" not in chosen.settings
    assert at(chosen, "optimizer.learning_rate") == 4e-4
    assert at(chosen, "data.sequence_length") == 128
    assert at(chosen, "sources.domain.heldout") == 32
    assert at(chosen, "evaluation.validation_documents") == 12
    assert at(chosen, "sources.general.heldout") == 60
    assert at(chosen, "budget.epochs") == 3
    assert chosen.gated_domain
    for path in ("optimizer.learning_rate", "data.sequence_length", "sources.domain.heldout", "retain.kl"):
        assert chosen.reasons[path]


@pytest.mark.parametrize(
    ("count", "held", "validated"), [(8, 5, 3), (49, 10, 7), (50, 25, 5), (78, 32, 12), (200, 40, 20), (900, 160, 32)]
)
def test_fifty_documents_are_enough_for_a_gate_on_the_domain(count: int, held: int, validated: int) -> None:
    """So the tutorial says; a fifth of 78 were too few to judge, and the gate was silent about the domain."""
    domain: Any = SimpleNamespace(train=range(count))
    assert _held_out(domain) == (held, validated)
    assert (held - validated >= MINIMUM_DOCUMENTS) == (count >= 50)
    assert held <= max(5, count // 2)


def test_ten_documents_are_enough_and_the_base_may_write_the_rest(pico_folder: Path, texts: Path) -> None:
    chosen = choose(asked(pico_folder, texts / "ten", None, search=True, epochs=1.5))
    assert at(chosen, "sources.domain.heldout") == 5
    assert at(chosen, "evaluation.validation_documents") == 3
    assert at(chosen, "sources.general.path") == "self"
    assert at(chosen, "sources.general.replay.tokens") == 50_000
    assert at(chosen, "method") == "auto"
    assert "optimizer" not in chosen.settings
    assert at(chosen, "budget.epochs") == 1.5


def test_little_memory_means_an_adapter(pico_folder: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acclimate.verbs.adapt.rules.room_on", lambda device: Room(2**29, "of memory", SPARE))
    chosen = choose(asked(pico_folder, texts / "domain.jsonl", texts / "general.jsonl"))
    assert at(chosen, "lora") == {"rank": 16, "alpha": 32}
    assert at(chosen, "optimizer.learning_rate") == 1.5e-3 or at(chosen, "optimizer.learning_rate") == 2e-3
    assert "an adapter instead" in chosen.reasons["lora"]
    assert at(chosen, "training.gradient_checkpointing") is True
    searched = choose(asked(pico_folder, texts / "domain.jsonl", texts / "general.jsonl", search=True))
    assert at(searched, "search.lora") == [True]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "keep 0": ({"keep": 0.0}, "--keep: 0 is no budget of forgetting: above 0…"),
    "keep below 0": ({"keep": -1.0}, "--keep: -1 is no budget…"),
    "no domain": ({"domain": "nowhere"}, "--domain: there is no 'nowhere'; give a file, folder, glob or URL of text."),
    "no general": ({"general": "nowhere.jsonl"}, "--general: there is no 'nowhere.jsonl'; give a file…"),
    "both lengths": ({"tokens": 5, "epochs": 1.0}, "--tokens and --epochs both say how long to train; keep one."),
    "no tokens": ({"tokens": 0}, "--tokens: 0 trains nothing; give more than 0."),
    "a name": ({"name": "a/b"}, "--name: 'a/b' is no name for a run: …"),
    "nothing to resume": ({"resume": True}, "--resume: there is no '…a.yaml' to go on with; leave --resume out…"),
    "a setting": (
        {"overrides": ["optimizer.lr=1"]},
        "…optimizer.lr: there is no such key. Here it is called 'optimizer.learning_rate'.",
    ),
    "another name": ({"overrides": ["name=b"]}, "--set: the run's name and folder are given by --name and…"),
    "little general text": ({"general": "little"}, "--general: of 40 documents half can be held out, 12 of them to…"),
    "three documents": ({"domain": "three"}, "--domain: there are 3 documents, and 8 are needed: …"),
    "no model": ({"model": "no/where"}, "model.path: …no/where…"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_are_sentences_and_leave_nothing(
    case: str, pico_folder: Path, texts: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, sentence = WRONG[case]
    monkeypatch.chdir(tmp_path)
    Path("little").symlink_to(corpora / "general.jsonl")
    Path("three").mkdir()
    for number in range(3):
        (Path("three") / f"{number}.txt").write_text(f"A text of its own, {number}.")
    given: dict[str, Any] = {
        "model": str(pico_folder), "domain": str(texts / "domain.jsonl"), "keep": 0.05, "name": "a",
        "general": str(texts / "general.jsonl"),
    }  # fmt: skip
    if case == "little general text":
        Path("little").unlink()
        Path("little").mkdir()
        (Path("little") / "a.jsonl").write_text((corpora / "general.jsonl").read_text())
    with pytest.raises(AcclimateError, match=quoted(sentence)):
        adapt(**given | changes)
    assert not Path("runs").exists() or not list(Path("runs").glob("*.yaml"))


def test_a_wrong_argument_is_told_before_torch_is_loaded() -> None:
    program = """
import sys
sys.argv = ["acclimate", "adapt", "--model", "m", "--domain", "nowhere", "--keep", "0.1"]
from acclimate.cli import main
try:
    main()
finally:
    print(*({"torch", "transformers", "scipy"} & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert told.returncode != 0
    assert told.stdout == "\n"
    assert "there is no 'nowhere'" in " ".join(told.stderr.split())


def test_what_stands_there_is_left_alone_and_resumed_by_its_own_command(
    pico_folder: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    given: dict[str, Any] = {"model": str(pico_folder), "domain": str(texts / "domain.jsonl"), "keep": 0.05}
    Path("runs/domain.yaml").write_text("# mine\n")
    with pytest.raises(UsageError, match=quoted("--name: 'runs/domain.yaml' exists and is left alone. …domain-2…")):
        adapt(**given)
    with pytest.raises(UsageError, match=quoted("--resume: 'runs/domain.yaml' was not written by acclimate adapt; …")):
        adapt(**given, resume=True)
    Path("runs/domain.yaml").write_text("# acclimate adapt --model other\n")
    with pytest.raises(UsageError, match=quoted("…was written for another command: acclimate adapt --model other. …")):
        adapt(**given, resume=True)
    assert yaml.safe_load(Path("runs/domain.yaml").read_text()) is None
    with pytest.raises(ConfigError):
        adapt(**given, name="b", overrides=["nothing"])
