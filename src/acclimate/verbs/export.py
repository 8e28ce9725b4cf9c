"""A run's model as a folder for other programs: transformers, vLLM, llama.cpp, Ollama, the Hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from acclimate.build import open_run
from acclimate.disk.files import write_text
from acclimate.model.causal import CausalModel
from acclimate.model.export import check_empty, save_model
from acclimate.model.load import written_changes
from acclimate.reports import model_card
from acclimate.reports.front_matter import Origin
from acclimate.runs.beginning import read_config, turn_ends
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import Layout
from acclimate.types.errors import UsageError
from acclimate.verbs.gguf import check_gguf, write_gguf
from acclimate.verbs.modelfile import modelfile
from acclimate.verbs.publish import reserve, upload


def export(
    run_dir: Path,
    output: Path,
    merge: bool = False,
    checkpoint: str | None = None,
    console: Console | None = None,
    *,
    base_id: str | None = None,
    licence: str | None = None,
    gguf: str | None = None,
    converter: Path | None = None,
    push_to_hub: str | None = None,
    public: bool = False,
) -> Path:
    """Writes a Hugging Face folder: an adapter, or with ``merge`` (and after full tuning) a whole model.

    Args:
        merge: fold the adapter into the base; into its original weights, if the run kept them quantised.
        checkpoint: ``best`` or ``step-00000100``; None is the run's final ``model/``.
        console: where notes about what is written are printed.
        base_id: the base's id on the Hub, for the card, where the run read it from a folder.
        licence: of this model, for the card; None: the base's, where its folder says it.
        gguf: also write a GGUF file of this type (``f16``, ``bf16``, ``q8_0`` ...) and a Modelfile for Ollama.
        converter: llama.cpp's converter or its checkout; None: the pinned one.
        push_to_hub: also send the folder to this repository, which is made private where there is none.
        public: make it public instead.

    Raises:
        UsageError: the folder is not empty, or options do not go together.
        RunError: the converter refuses the model, or the Hub does.
    """
    check_empty(output)
    if public and push_to_hub is None:
        raise UsageError("--public: has no effect without --push-to-hub.")
    if converter is not None and gguf is None:
        raise UsageError("--converter: has no effect without --gguf.")
    if gguf is not None:
        check_gguf(gguf, converter)
        if read_config(run_dir).lora is not None and not merge:
            raise UsageError("--gguf: a GGUF file holds a whole model, and this run has an adapter; add --merge.")
    repository = None if push_to_hub is None else reserve(push_to_hub, public)
    config, pair = open_run(run_dir, checkpoint, quantised=not merge)
    run = Layout(run_dir)
    measured = run.summary.is_file() and read_summary(run.summary)
    card = model_card(run_dir, merge, checkpoint, Origin(base_id, licence)) if measured else None
    ends = turn_ends(run_dir)
    changes = written_changes(config.model, whole=merge or config.lora is None)
    stops_at = ends["stops_at"]
    notes = save_model(pair.model, output, config.model.path, card, merge, stops_at=stops_at, changes=changes)
    if gguf is not None:
        cache = Path(os.path.expanduser(config.data.cache_dir))
        file = write_gguf(output, config.name, gguf, cache, converter)
        text, note = modelfile(file.name, pair.model.tokenizer, _ends(pair.model, ends["tokens"]))
        write_text(output / "Modelfile", text)
        notes += [note] if note else []
    if repository is not None:
        notes.append(f"sent to {upload(repository, output)}")
    for note in notes:
        if console is not None:
            console.print(f"Note: {note}", style="yellow", highlight=False, markup=False)
    return output


def _ends(model: CausalModel, learned: Sequence[str]) -> list[str]:
    """Tokens that end an answer: what the run learned, and what its base has."""
    eos = model.network.generation_config.eos_token_id
    ids = eos if isinstance(eos, list) else [eos, model.tokenizer.eos_token_id]
    return [*learned, *model.tokenizer.convert_ids_to_tokens([i for i in ids if i is not None])]
