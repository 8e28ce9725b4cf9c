"""``path: self``: the base writes a source's rows before a run, once, and a plan says so without writing any."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from acclimate.config.load import load_config, parse_config
from acclimate.runs.layout import read_json
from acclimate.types.errors import AcclimateError, ConfigError, DataError, ModelError
from acclimate.verbs.replay import write as write_module
from acclimate.verbs.run import evaluate_run, train
from acclimate.verbs.validate import validate
from tests.fixtures.runs import settings
from tests.fixtures.sentences import refused
from tests.fixtures.writing import save_writer
from tests.test_wrong_inputs import run_cli

REPLAY = {"tokens": 300, "max_new_tokens": 24, "batch_size": 8}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_writer(tmp_path_factory.mktemp("writer"))


def plain(writer: Path, corpora: Path, output: Path, general: Any = None, **changes: Any) -> dict[str, Any]:
    general = general or {"path": "self", "share": 0.5, "heldout": 2, "replay": REPLAY}
    domain = {"path": str(corpora / "domain.jsonl"), "share": 0.5, "heldout": 4}
    own = {"cache_dir": str(output / "cache")}
    changes = {"sources": {"domain": domain, "general": general}, "budget": {"steps": 2}, "data": own} | changes
    found = settings(writer, corpora, output, **changes)
    found["sources"] = changes["sources"]
    return found


def caches(output: Path) -> list[Path]:
    return list((output / "cache" / "replay").glob("*/rows.jsonl"))


def test_a_run_on_rows_of_its_own_base(
    writer: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = plain(writer, corpora, tmp_path)
    found = validate(parse_config(data))
    assert not caches(tmp_path)  # a plan writes none
    assert [(source.name, source.tokens) for source in found.unwritten] == [("general", 300)]
    assert found.writing_seconds > 0
    assert found.data["sources"]["general"]["tokens"] > 200
    result = train(parse_config(data))
    (rows,) = caches(tmp_path)
    about = read_json(result.run_dir / "data.json")["sources"]["general"]
    assert about["role"] == "chat"
    assert about["unread"] == []
    assert about["documents"] == len(rows.read_text().splitlines())
    (section,) = [s for n, s in load_config(result.run_dir / "config.yaml").sources.items() if n == "general"]
    assert section.is_self
    assert not validate(parse_config(data | {"name": "other"})).unwritten
    again = evaluate_run(result.run_dir)  # reads what is there
    assert again.summary == result.summary
    content = rows.read_bytes()
    shutil.rmtree(rows.parent)
    assert evaluate_run(result.run_dir).summary == result.summary  # the base has written the same again
    assert caches(tmp_path)[0].read_bytes() == content
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "_write", None)
        train(parse_config(data | {"name": "second"}))
        data["sources"]["general"]["replay"] = REPLAY | {"seed": 1}
        with pytest.raises(TypeError, match="NoneType"):
            train(parse_config(data | {"name": "third"}))


def test_a_base_apart_writes(writer: Path, corpora: Path, pico_folder: Path, tmp_path: Path) -> None:
    data = plain(writer, corpora, tmp_path, model={"base": str(pico_folder)})
    with pytest.raises(DataError, match="hardly writes a row that is new") as error:
        train(parse_config(data))  # random bytes of the other model
    assert f"sources.general.replay: '{pico_folder}'" in str(error.value)


def test_the_short_form_and_settings_on_the_command_line(writer: Path, corpora: Path, tmp_path: Path) -> None:
    data = plain(writer, corpora, tmp_path, general="self")
    assert parse_config(data).sources["general"].path == "self"
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
    config = load_config(tmp_path / "c.yaml", ["sources.general.replay.tokens=70", "sources.general.heldout=1"])
    assert config.sources["general"].replay is not None
    assert config.sources["general"].replay.tokens == 70
    del data["sources"]["general"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
    assert load_config(tmp_path / "c.yaml", ["sources.general=self"]).sources["general"].is_self


def test_the_verb(
    writer: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.jsonl"
    given = ["replay", "--model", str(writer), "--output", str(output), "--dtype", "float32"]
    options = ["--tokens", "200", "--max-new-tokens", "24", "--batch-size", "8", "--way", "seeds"]
    code, out, err = run_cli([*given, *options, "--real", str(corpora / "chat.jsonl")], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert f"Wrote {output}. A source reads it" in " ".join(out.split())
    found = json.loads(output.with_name("rows.replay.json").read_text())
    assert found["ways"].keys() == {"seeds"}
    assert found["real"].keys() == {"prompts", "said"}
    code, _, err = run_cli([*given, "--way", "sedes"], monkeypatch, capsys)
    assert code == 3
    assert "replay.ways" in err
    assert "seeds" in err


def change(**values: Any) -> dict[str, Any]:
    return {"path": "self", **values}


WRONG: list[tuple[Any, str, type[AcclimateError]]] = [
    ({"path": "DOMAIN", "replay": {"tokens": 5}}, "… replay has no effect without path: self; …", ConfigError),
    (change(path=["self", "DOMAIN"]), "… path names self among others; … ./self …", ConfigError),
    (change(streaming=True), "… streaming has no effect on path: self, since they are written before …", ConfigError),
    (change(split="train"), "… split has no effect on path: self, …", ConfigError),
    (change(subset="a"), "… subset has no effect on path: self, …", ConfigError),
    (change(format="text"), "… format has no effect on path: self, …", ConfigError),
    (change(fields={"text": "body"}), "… fields has no effect on path: self, …", ConfigError),
    (change(replay={"ways": {"seeds": 0}}), "… sources.general.replay.ways: needs weights above 0; …", ConfigError),
    (change(replay={"temperature": 0}), "… sources.general.replay.temperature: … greater than 0 …", ConfigError),
    (change(replay={"tokns": 9}), "… sources.general.replay.tokns: … tokens …", ConfigError),
    (change(thinking="on", replay=REPLAY), "sources.general.thinking: … never reads enable_thinking, …", ConfigError),
    (
        change(heldout=40, replay=REPLAY | {"tokens": 60}),
        "sources.general.heldout: 40 holds out 40 of … documents, which leaves none to train on; …",
        DataError,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("general", "sentence", "kind"), WRONG)
def test_wrong_settings(
    general: dict[str, Any], sentence: str, kind: type[AcclimateError], writer: Path, corpora: Path, tmp_path: Path
) -> None:
    named = json.loads(json.dumps(general).replace("DOMAIN", str(corpora / "domain.jsonl")))
    with refused(sentence, kind):
        validate(parse_config(plain(writer, corpora, tmp_path, general=named)))
    assert not caches(tmp_path)


def test_the_same_rows_twice(writer: Path, corpora: Path, tmp_path: Path) -> None:
    """Two sources with equal settings: a duplicate of each other, said before a row is written."""
    data = plain(writer, corpora, tmp_path)
    data["sources"]["more"] = data["sources"]["general"] | {"route": "general", "share": 0.2}
    with refused("sources.more: … as for 'general', …; give it another sources.more.replay.seed, …", ConfigError):
        validate(parse_config(data))
    data["sources"]["more"]["replay"] = REPLAY | {"seed": 1}
    data["sources"]["domain"]["share"] = 0.3
    assert [source.name for source in validate(parse_config(data)).unwritten] == ["general", "more"]


def test_a_model_without_template_and_bos(corpora: Path, tmp_path: Path) -> None:
    mute = save_writer(tmp_path / "mute", chat_template=None)
    with refused("sources.general.replay: the model has neither a chat template nor a bos token, …", ModelError):
        validate(parse_config(plain(mute, corpora, tmp_path)))


def test_the_page_of_the_documentation(
    writer: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program runs, and its settings are accepted."""
    text = (Path(__file__).parents[2] / "docs" / "howto" / "replay.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.S)
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.S)):
        data = plain(writer, corpora, tmp_path)
        data["sources"] |= yaml.safe_load(block)["sources"]
        assert parse_config(data).sources["general"].is_self, number
    monkeypatch.chdir(tmp_path)
    shutil.copytree(writer, tmp_path / "my-model")
    exec(compile(program.replace("tokens=100_000", "tokens=150, max_new_tokens=24"), "replay.md", "exec"), {})
    assert (tmp_path / "rows.jsonl").stat().st_size > 0
