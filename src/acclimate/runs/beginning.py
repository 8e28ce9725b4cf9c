"""How a run began, and whether it is the run that it is taken for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from acclimate.config.apart import FREE_ON_RESUME, Apart, marks
from acclimate.config.chosen.search import AUTO
from acclimate.config.load import RunConfig, load_config
from acclimate.config.source_schema import SourceSection
from acclimate.runs.layout import Layout, read_json, write_json
from acclimate.runs.measured import check_weights
from acclimate.runs.provenance import other_versions, with_session
from acclimate.types.errors import RunError, UsageError


def begun_config(config: RunConfig) -> Path:
    """Where the configuration lies that a run of this name began with: with ``method: auto`` that of its search."""
    run = Layout(config.run_dir)
    return Layout(run.search).config if config.method == AUTO else run.config


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
    path = Layout(config.run_dir).provenance
    for note in told + (other_versions(read_json(path)) if path.is_file() else []):
        console.print(f"Note: {note}", style="yellow", highlight=False)


def without_effect(config: RunConfig) -> str:
    """What differs, and may, from how a run is configured that is finished, as the end of a sentence; or nothing."""
    changed = _differing(config, [mark for mark in FREE_ON_RESUME if mark is not Apart.PLACE])
    return f" What differs has no effect any more: {'; '.join(changed)}." if changed else ""


def begin_session(run_dir: Path, record: Mapping[str, Any], step: int, processes: int) -> dict[str, Any]:
    """Writes provenance.json with the session that goes on after ``step``, and returns it."""
    record = with_session(record, step, processes)
    write_json(Layout(run_dir).provenance, record)
    return record


def as_begun(config: RunConfig) -> RunConfig:
    """Of a run that goes on: ``auto`` means what it meant; once trained, what was chosen when it began stays."""
    config = _with_saved_adapter(with_saved_choices(config))
    if not Layout(config.run_dir).has_model:
        return config
    began = load_config(Layout(config.run_dir).config).evaluation
    kept = {"overlap_ngram": began.overlap_ngram}
    if config.evaluation.memorisation_documents:  # 0 still measures none
        kept["memorisation_documents"] = began.memorisation_documents
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=kept)})


def _differing(config: RunConfig, kinds: Collection[Apart | None]) -> list[str]:
    """``path: this then, that now`` of the settings with one of these marks; None is no mark."""
    began, now = _as_it_began(load_config(begun_config(config))), with_saved_choices(config)
    if began.lora is not None and began.lora.experts is None:  # it stays so, unless something else is asked for
        began = began.model_copy(update={"lora": began.lora.model_copy(update={"experts": False})})
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
    """Runs of 0.1.0 knew no groups: their documents were held out one by one, and stay so. They joined pairs as these
    stood."""

    def began(section: SourceSection) -> SourceSection:
        old = {} if "group" in section.model_fields_set else {"group": "none"}
        return section.model_copy(update=old | ({} if _knows_pairs(section) else {"pairs": "joined"}))

    return config.model_copy(update={"sources": {name: began(section) for name, section in config.sources.items()}})


def _knows_pairs(section: SourceSection) -> bool:
    """Whether a run's configuration says how pairs are read, or there is nothing to say."""
    return "pairs" in section.model_fields_set or section.is_self or section.format in ("text", "messages")


def with_saved_choices(config: RunConfig) -> RunConfig:
    """``auto`` means what it did as the run began, in dtype, attention, ``chunk_tokens``, ``eval_steps``, shares, pairs
    and ``heldout``."""
    path = begun_config(config)
    if not path.exists():
        return config
    saved = load_config(path)
    left = {"model": ("dtype", "attention"), "objective": ("chunk_tokens",), "training": ("eval_steps",)}
    changes: dict[str, Any] = {}
    for name, keys in left.items():
        then, now = getattr(saved, name), getattr(config, name)
        kept = {key: value for key in keys if getattr(now, key) == "auto" and (value := getattr(then, key)) is not None}
        changes |= {name: now.model_copy(update=kept)} if kept else {}
    read = _as_it_began(saved).sources
    changes["sources"] = {
        name: _as_dealt(section, saved.sources.get(name), read.get(name)) for name, section in config.sources.items()
    }
    return config.model_copy(update=changes)


def _as_dealt(section: SourceSection, began: SourceSection | None, read: SourceSection | None) -> SourceSection:
    """Of a source: runs of 0.1.0 have ``share: null`` here, which is equal parts, and ``heldout`` as a number."""
    kept = {} if began is None else {k: getattr(began, k) for k in ("share", "heldout") if getattr(section, k) == AUTO}
    if read is not None and section.pairs == AUTO:
        kept["pairs"] = read.pairs
    return section.model_copy(update=kept) if kept else section


def _with_saved_adapter(config: RunConfig) -> RunConfig:
    """Runs of 0.1.0 left it to PEFT what all-linear means: their adapters stay as they are."""
    path = Layout(config.run_dir).config
    if config.lora is None or config.lora.experts or not path.exists():
        return config
    lora = load_config(path).lora
    if lora is None or (lora.experts is not None and "experts" in lora.model_fields_set):
        return config
    return config.model_copy(update={"lora": config.lora.model_copy(update={"experts": None})})


def _differences(began: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(began, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*began, *now])
        return [d for key in keys for d in _differences(began.get(key), now.get(key), f"{path}.{key}".lstrip("."))]
    return [] if began == now else [(path, began, now)]


def check_digests(
    run_dir: Path,
    models: Mapping[str, Mapping[str, str]],
    data: dict[str, str],
    inputs: dict[str, str] | None = None,
    held_out: dict[str, str] | None = None,
) -> dict[str, Any] | None:
    """The run's own provenance, if it has begun; refuses other models or other documents than it began with.

    Args:
        models: :func:`~acclimate.model.load.model_identities`, or those of them that are used.
        held_out: source -> digest of which documents are held out, which runs of 0.1.0 did not keep.
    """
    path = Layout(run_dir).provenance
    if not path.is_file():
        return None
    began: dict[str, Any] = read_json(path)
    try:
        others = [name for name, digest in data.items() if began["data"].get(name) != digest]
        changed = [f"source '{name}'" for name in others]
        for role, now in models.items():
            name = "the model it starts from" if role == "model" and "base" in began else "the base model"
            was = began[role]
            changed += [name] if was["digest"] != now["digest"] else []
            if was.get("reading", now.get("reading")) != now.get("reading"):
                changed.append(f"{name}'s config.json or tokenizer")
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
    if (path := Layout(run_dir).provenance).is_file():
        check_weights(run_dir, read_json(path))


def turn_ends(run_dir: Path) -> dict[str, list[Any]]:
    """``{ids, tokens, stops_at}`` of data.json: what ends a turn as this run learned it, where its base does not stop;
    empty lists where there is nothing of the kind."""
    path = Layout(run_dir).data
    found = read_json(path).get("turn_ends") if path.is_file() else None
    return {key: list((found or {}).get(key, ())) for key in ("ids", "tokens", "stops_at")}


def read_config(run_dir: Path) -> RunConfig:
    """The resolved configuration of a run folder, pointing at that folder wherever it has been moved."""
    path = Layout(run_dir).config
    if not path.is_file():
        raise UsageError(f"'{run_dir}' is no run folder: it has no config.yaml. `acclimate train` makes one.")
    config = _as_it_began(load_config(path))
    resolved = run_dir.resolve()
    return config.model_copy(update={"output_dir": str(resolved.parent), "name": resolved.name})
