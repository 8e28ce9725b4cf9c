"""The run folder as the verbs find it: who may write to it, and whether it is the run that it is taken for."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from acclimate.apart import FREE_ON_RESUME, Apart, marks
from acclimate.config import RunConfig, load_config
from acclimate.errors import ConfigError, DataError, RunError, UsageError
from acclimate.evaluate.measured import check_weights
from acclimate.evaluate.summary import Record
from acclimate.files import leftovers, sweep, unwritable
from acclimate.provenance import other_versions, read_json, with_session, write_json


def check_place(config: RunConfig) -> None:
    """The run folder can be made; makes nothing.

    Raises:
        ConfigError: something that is no folder is in its way, or it is closed.
    """
    folder = config.run_dir.parent.absolute()
    place = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"output_dir: '{config.output_dir}' cannot be written to; choose another folder.")
    if config.run_dir.exists() and not config.run_dir.is_dir():
        raise ConfigError(f"name: '{config.run_dir}' is a file, so it cannot be the run folder; choose another name.")


def check_run_dir(config: RunConfig, resume: bool) -> None:
    """Nothing that exists is overwritten, and a run is only continued by the configuration that began it."""
    path = config.run_dir / "config.yaml"
    check_place(config)
    try:
        config.run_dir.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(config.run_dir.parent, error) from error
    if not path.exists():
        held = config.run_dir.iterdir() if config.run_dir.is_dir() else ()
        if any(not (path.name.startswith(".") and path.suffix == ".partial") for path in held):
            raise UsageError(f"The folder '{config.run_dir}' holds something that is no run; choose another name.")
        return
    if not resume:
        raise UsageError(
            f"The run '{config.run_dir}' exists. Continue it with --resume, or choose another name, for example "
            f"--set name={config.name}-2."
        )
    if differences := differences_from(config):
        raise UsageError(
            f"The run '{config.run_dir}' began with another configuration; it differs at {'; '.join(differences)}. "
            "Use the configuration it began with, or another name."
        )
    finished = (config.run_dir / "summary.json").is_file()
    if finished and not has_model(config.run_dir) and not _has_checkpoints(config.run_dir):
        raise RunError(
            f"The run '{config.run_dir}' is finished, but its model/ is gone and it kept no checkpoint to make it "
            "from; start a new run under another name."
        )


def differences_from(config: RunConfig) -> list[str]:
    """What the run of this name, which has begun, was configured otherwise, as ``path: this then, that now``."""
    return _differing(config, [None, *(mark for mark in Apart if mark not in FREE_ON_RESUME)])


def say_what_changed(config: RunConfig, console: Console) -> None:
    """Notes on what differs, and may, from how the run of this name began: settings, and versions."""
    others = [mark for mark in FREE_ON_RESUME if mark not in (Apart.PLACE, Apart.WORK)]
    told = []
    if work := _differing(config, [Apart.WORK]):
        told.append(
            f"{'; '.join(work)}. What is learned is the same up to the order of sums; what is drawn at random while "
            "training, as by lora.dropout, is drawn otherwise."
        )
    if other := _differing(config, others):
        told.append(f"{'; '.join(other)}. What is learned is the same.")
    path = config.run_dir / "provenance.json"
    for note in told + (other_versions(read_json(path)) if path.is_file() else []):
        console.print(f"Note: {note}", style="yellow", highlight=False)


def without_effect(config: RunConfig) -> str:
    """What differs, and may, from how a run is configured that is finished, as the end of a sentence; or nothing."""
    changed = _differing(config, [mark for mark in FREE_ON_RESUME if mark is not Apart.PLACE])
    return f" What differs has no effect any more: {'; '.join(changed)}." if changed else ""


def begin_session(run_dir: Path, record: Mapping[str, Any], step: int, processes: int) -> dict[str, Any]:
    """Writes provenance.json with the session that goes on after ``step``, and returns it."""
    record = with_session(record, step, processes)
    write_json(run_dir / "provenance.json", record)
    return record


def as_begun(config: RunConfig) -> RunConfig:
    """Of a run that goes on: ``dtype: auto`` means what it meant; once trained, what was chosen when it began stays."""
    config = with_saved_dtype(config)
    if not has_model(config.run_dir):
        return config
    began = load_config(config.run_dir / "config.yaml").evaluation
    kept = {"overlap_ngram": began.overlap_ngram}
    if config.evaluation.memorisation_documents:  # 0 still measures none
        kept["memorisation_documents"] = began.memorisation_documents
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=kept)})


def _differing(config: RunConfig, kinds: Collection[Apart | None]) -> list[str]:
    """``path: this then, that now`` of the settings with one of these marks; None is no mark."""
    began, now = _as_it_began(load_config(config.run_dir / "config.yaml")), with_saved_dtype(config)
    found, marked = [], marks(RunConfig)
    for path, then, today in _differences(began.model_dump(mode="json"), now.model_dump(mode="json")):
        mark = next((marked[way] for way in _patterns(path) if way in marked), None)
        if mark in kinds:
            found.append(f"{path}: {then!r} then, {today!r} now")
    return found


def _patterns(path: str) -> Iterator[str]:
    """The path and the sections above it, as marks have them."""
    parts = path.split(".")
    if parts[0] == "sources":  # of a source, whose name may hold dots
        parts = ["sources", "*", parts[-1]]
    return (".".join(parts[:length]) for length in range(len(parts), 0, -1))


def _as_it_began(config: RunConfig) -> RunConfig:
    """Runs of 0.1.0 knew no groups: their documents were held out one by one, and stay so."""
    sources = {
        name: section if "group" in section.model_fields_set else section.model_copy(update={"group": "none"})
        for name, section in config.sources.items()
    }
    return config.model_copy(update={"sources": sources})


def has_model(run_dir: Path) -> bool:
    """Whether the run's ``model/`` is there: a whole model, or an adapter."""
    return any((run_dir / "model" / name).is_file() for name in ("config.json", "adapter_config.json"))


def _has_checkpoints(run_dir: Path) -> bool:
    return any((run_dir / "checkpoints").glob("step-*"))


def what_resume_does(run_dir: Path) -> str:
    if has_model(run_dir):
        return "measures the trained model"
    return (
        "continues from the last checkpoint"
        if _has_checkpoints(run_dir)
        else "begins at step 0, for there is no checkpoint yet"
    )


def with_saved_dtype(config: RunConfig) -> RunConfig:
    """``dtype: auto`` means what it meant when the run began."""
    path = config.run_dir / "config.yaml"
    if config.model.dtype != "auto" or not path.exists():
        return config
    saved = load_config(path).model.dtype
    return config.model_copy(update={"model": config.model.model_copy(update={"dtype": saved})})


def _differences(began: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(began, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*began, *now])
        return [d for key in keys for d in _differences(began.get(key), now.get(key), f"{path}.{key}".lstrip("."))]
    return [] if began == now else [(path, began, now)]


def check_digests(
    run_dir: Path,
    model: Mapping[str, str],
    data: dict[str, str],
    inputs: dict[str, str] | None = None,
    held_out: dict[str, str] | None = None,
) -> dict[str, Any] | None:
    """The run's own provenance, if it has begun; refuses other models or other documents than it began with.

    Args:
        model: :func:`~acclimate.model.load.model_identity` of the base.
        held_out: source -> digest of which documents are held out, which runs of 0.1.0 did not keep.
    """
    path = run_dir / "provenance.json"
    if not path.is_file():
        return None
    began: dict[str, Any] = read_json(path)
    try:
        others = [name for name, digest in data.items() if began["data"].get(name) != digest]
        changed = [f"source '{name}'" for name in others]
        was = began["model"]
        changed += ["the base model"] if was["digest"] != model["digest"] else []
        if was.get("reading", model.get("reading")) != model.get("reading"):
            changed.append("the base model's config.json or tokenizer")
        changed += [name for name, digest in (inputs or {}).items() if began["method_inputs"].get(name) != digest]
        began_with = began.get("held_out", held_out) or {}
        moved = [name for name, digest in (held_out or {}).items() if began_with.get(name) != digest]
        changed += [f"the held-out part of '{name}'" for name in moved if name not in others]
    except (AttributeError, KeyError, TypeError):
        raise RunError(f"'{path}' is damaged: it holds no digests of the run's model and data.") from None
    if changed:
        raise RunError(
            f"The run '{run_dir}' began with other contents of {' and '.join(changed)} than there are now, so it can "
            "not be continued, measured again or used (of a streamed source the names, sizes and times of its files "
            "count); restore them, or start a new run under another name."
        )
    return began


def check_trained(run_dir: Path) -> None:
    """That model/ is what the run's training wrote, where its provenance says what that was.

    Raises:
        RunError: it is another model.
    """
    if (run_dir / "provenance.json").is_file():
        check_weights(run_dir, read_json(run_dir / "provenance.json"))


@contextmanager
def sole_writer(run_dir: Path) -> Iterator[None]:
    """Refuses a second process that trains the same run; the lock goes when its holder ends, however that happens."""
    run_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = run_dir.is_dir() and os.path.samestat(os.fstat(handle), run_dir.stat())
        except BlockingIOError:
            mine = False
        if not mine:  # or its holder has just ended and taken the empty folder away
            raise RunError(f"The run '{run_dir}' is being trained by another process; wait for it, or stop it.")
        sweep([*leftovers(run_dir), *_left_by_a_trainer(run_dir)])
        try:
            yield
        finally:
            with suppress(OSError):
                run_dir.rmdir()  # nothing was begun in it; before the lock goes, so that nobody holds it by then
    finally:
        os.close(handle)


@contextmanager
def keeping_the_model(run_dir: Path) -> Iterator[None]:
    """Around the measuring of a run that is trained: text that is gone or changed costs no model, and it says so."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{error} The trained model is whole and kept in '{run_dir / 'model'}': export and chat work, and "
            f"`acclimate eval {run_dir} --panel FILE` measures it on a panel. To measure it on its own held-out text, "
            "make good what is said above, then run the same command with --resume; it trains nothing again."
        ) from error


def _left_by_a_trainer(run_dir: Path) -> list[Path]:
    """Folders that were half written or already replaced when a trainer of this run was killed."""
    stale = (run_dir / "checkpoints").glob(".*.stale")
    replaced = [path for path in stale if path.with_name(path.name[1:].removesuffix(".stale")).is_dir()]
    return [run_dir / ".model.partial", *(run_dir / "checkpoints").glob(".*.partial"), *replaced]


def turn_ends(run_dir: Path) -> dict[str, list[Any]]:
    """``{ids, tokens, stops_at}`` of data.json: what ends a turn as this run learned it, where its base does not stop;
    empty lists where there is nothing of the kind."""
    path = run_dir / "data.json"
    found = read_json(path).get("turn_ends") if path.is_file() else None
    return {key: list((found or {}).get(key, ())) for key in ("ids", "tokens", "stops_at")}


def read_config(run_dir: Path) -> RunConfig:
    """The resolved configuration of a run folder, pointing at that folder wherever it has been moved."""
    if not (run_dir / "config.yaml").is_file():
        raise UsageError(f"'{run_dir}' is no run folder: it has no config.yaml. `acclimate train` makes one.")
    config = _as_it_began(load_config(run_dir / "config.yaml"))
    resolved = run_dir.resolve()
    return config.model_copy(update={"output_dir": str(resolved.parent), "name": resolved.name})


def read_summary(run_dir: Path) -> list[Record]:
    records: list[Record] = read_json(run_dir / "summary.json")
    return records
