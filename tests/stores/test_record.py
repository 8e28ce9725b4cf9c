"""Recording: resumed bitwise, written whole, never over something; the store read back and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from acclimate.build.plan import anchored
from acclimate.stores.fisher import Fisher
from acclimate.stores.path_integral import PathIntegral
from acclimate.stores.recorder import Recorder
from acclimate.stores.store import TENSORS, open_store, write_store
from acclimate.types.central import Metrics
from acclimate.types.errors import ConfigError, DamagedError, NonFiniteError, RunError, UsageError
from acclimate.verbs.record import record
from tests.fixtures.runs import config
from tests.fixtures.stores import RECORDERS, taken

TOKENS = 128 * 6


class Killed(Exception):
    """Stands for SIGKILL: nothing of the loop runs after it."""


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", RECORDERS)
def test_resumed_is_bitwise_undisturbed(
    kind: str, lora: dict | None, pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = taken(RECORDERS[kind](), pico_folder, corpora, tmp_path / "whole", TOKENS, lora=lora)
    watched = {"eval_steps": 2, "patience": 3, "on_budget_exceeded": "stop"}  # a recording has none of these
    settings = config(
        pico_folder, corpora, tmp_path / "work", lora=lora, training={"save_steps": 2, **watched},
        retain={"kl": 0.1}, evaluation={"validation_documents": 2},
    )  # fmt: skip
    update = RECORDERS[kind].update

    def killed(self: Recorder, grads: Any, params: Any, state: Any, step: int) -> Metrics:
        if step == 5:
            raise Killed
        return update(self, grads, params, state, step)

    output = tmp_path / "resumed"
    with monkeypatch.context() as patched:
        patched.setattr(RECORDERS[kind], "update", killed)
        with pytest.raises(Killed):
            record(settings, RECORDERS[kind](), output, TOKENS)
    assert not output.exists()
    assert [p.name for p in (tmp_path / "resumed.recording" / kind / "checkpoints").iterdir()]
    with pytest.raises(UsageError, match="was begun before; continue it with --resume, or remove"):
        record(settings, RECORDERS[kind](), output, TOKENS)
    with pytest.raises(UsageError, match=r"differs at budget\.tokens"):
        record(settings, RECORDERS[kind](), output, TOKENS + 1, resume=True)
    found = record(settings, RECORDERS[kind](), output, TOKENS, resume=True)
    assert (found.folder / TENSORS).read_bytes() == (whole.folder / TENSORS).read_bytes()
    assert found.facts == whole.facts
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resumed", "whole"]  # no trace of the recording


def test_nothing_is_written_over(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine").write_text("kept")
    with pytest.raises(UsageError, match="holds something already; name a new folder"):
        taken(Fisher(), pico_folder, corpora, tmp_path / "s")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    (tmp_path / "s" / "mine").unlink()
    assert taken(Fisher(), pico_folder, corpora, tmp_path / "s").kind == "fisher"


def test_the_manifest_says_what_was_recorded(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    store = taken(PathIntegral(), pico_folder, corpora, tmp_path / "s", TOKENS, lora={"rank": 4})
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest == store.manifest
    assert manifest["base"]["digest"].startswith("sha256:")
    assert set(manifest["corpus"]) == {"general", "chat"}  # those of route general, and no domain text
    assert TOKENS <= manifest["tokens"] < TOKENS + 128
    assert manifest["steps"] == 6
    assert manifest["lora"]["rank"] == 4
    assert set(manifest["lora_scaling"].values()) == {8.0}
    assert manifest["settings"]["learning_rate"] == 3e-3
    assert manifest["seconds"] > 0
    assert str(tmp_path) not in json.dumps(manifest)
    assert set(load_file(tmp_path / "s" / TENSORS)) == {f"statistic/{n}" for n in store.tensors} | {
        f"end/{n}" for n in store.end
    }


def test_a_run_keeps_where_its_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    methods = ["mol", {"name": "ewc", "store": "stats/fisher", "weight": 2.0}, {"name": "nothing", "store": "x"}]
    found = anchored(config(tmp_path, tmp_path, tmp_path, method=methods)).method
    assert found == ["mol", methods[1] | {"store": str(tmp_path / "stats" / "fisher")}, methods[2]]
    for method in ("mol", {"name": "ewc", "store": 3}, {"store": "x"}):
        assert anchored(config(tmp_path, tmp_path, tmp_path, method=method)).method == method


def test_one_source_by_name(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    settings = config(pico_folder, corpora, tmp_path / "work")
    store = record(settings, Fisher(), tmp_path / "s", 300, source="domain")
    assert set(store.manifest["corpus"]) == {"domain"}


def test_weight_decay_has_no_part_in_a_path(pico_folder: Path, corpora: Path, tmp_path: Path) -> None:
    plain = taken(PathIntegral(), pico_folder, corpora, tmp_path / "a")
    decayed = taken(PathIntegral(), pico_folder, corpora, tmp_path / "b", optimizer={"weight_decay": 0.5})
    assert (plain.folder / TENSORS).read_bytes() == (decayed.folder / TENSORS).read_bytes()


def test_a_statistic_that_is_not_finite_is_not_stored(
    pico_folder: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Fisher.result

    def broken(self: Fisher, training: Any, state: Any) -> Any:
        state["model.norm.weight"].fill_(float("inf"))
        return result(self, training, state)

    monkeypatch.setattr(Fisher, "result", broken)
    with pytest.raises(NonFiniteError, match=r"1 of 20 parameters .* not finite \('model.norm.weight' first\)"):
        taken(Fisher(), pico_folder, corpora, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def small(folder: Path) -> Path:
    manifest = {"kind": "fisher", "base": {"path": "m", "digest": "sha256:1"}, "lora": None, "lora_scaling": {}}
    write_store(folder, {"w": torch.ones(2, 3)}, {}, {"w": (2, 3)}, manifest)
    return folder


def test_a_store_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        small(tmp_path / "file" / "s")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    store = open_store(str(small(tmp_path / "s")), "fisher")
    store.verify()
    content = bytearray((store.folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (store.folder / TENSORS).write_bytes(content)
    with pytest.raises(DamagedError, match="differs from its digest"):
        store.verify()
    (store.folder / TENSORS).write_bytes(content[:-100])
    with pytest.raises(DamagedError, match="is incomplete"):
        dict(store.tensors)
    (store.folder / TENSORS).unlink()
    for read in (store.verify, lambda: store.tensors, lambda: store.end):
        with pytest.raises(DamagedError, match="is incomplete"):
            read()
    (store.folder / "manifest.json").write_text("[]")
    with pytest.raises(DamagedError, match="is not of version 1"):
        open_store(str(store.folder), "fisher")


def test_a_store_covers_the_run_or_is_refused(tmp_path: Path) -> None:
    store = open_store(str(small(tmp_path / "s")), "fisher")
    store.check("sha256:1", {"w": (2, 3)}, {}, {})
    store.check("sha256:1", {}, {}, {})  # a run that changes less
    with pytest.raises(ConfigError, match="lacks 1 of the 2 weights that this run changes, 'v' first"):
        store.check("sha256:1", {"w": (2, 3), "v": (2,)}, {}, {})
    with pytest.raises(ConfigError, match="lacks 1 of the 1"):
        store.check("sha256:1", {"w": (3, 2)}, {}, {})
    with pytest.raises(ConfigError, match="another base"):
        store.check("sha256:2", {"w": (2, 3)}, {}, {})
