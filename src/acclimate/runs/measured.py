"""``eval/measured.json``: which weights, which base and which data the numbers of a run folder are of.

It catches mix-ups and edits of some files. Who can write all files can write all digests (docs/howto/gate.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acclimate.disk.digest import has_files, sha256_of, tuned_identity
from acclimate.runs.layout import Layout, PanelLayout, parsed, write_json
from acclimate.types.errors import RunError

SHOWN = 3
"""Added tokens that a note names."""


@dataclass(frozen=True)
class Origin:
    """What is known of whose numbers a run folder holds.

    ``weights`` is None where they were measured before digests were kept; ``here``: model/ is there, and is these.
    """

    weights: str | None
    here: bool
    documents: Mapping[str, int]  # set -> how many were scored

    @property
    def note(self) -> str | None:
        """What could not be checked."""
        if self.weights is None:
            return (
                "Measured before acclimate kept digests, so nothing shows which weights these numbers are of; "
                "`acclimate eval RUN` measures again and keeps them."
            )
        if not self.here:
            return (
                "The weights are not in the folder (model/), so only their digest tells which the numbers are of: "
                f"{self.weights}. Compare it with what is released."
            )
        return None


def base_of(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """What identifies the base of a run: the model that it began with, unless it is measured against another.

    >>> base_of({"model": {"digest": "a"}, "base": {"digest": "b"}}), base_of({"model": {"digest": "a"}})
    ({'digest': 'b'}, {'digest': 'a'})
    """
    found: Mapping[str, Any] = provenance.get("base") or provenance.get("model") or {}
    return found


def base_notes(provenance: Mapping[str, Any]) -> list[str]:
    """What a reader of drift and gain must know of the base: that it is apart from what training started from, or that
    tokens were added to it."""
    notes = []
    if "base" in provenance:
        start, base = (provenance[role].get("path") for role in ("model", "base"))
        notes.append(
            f"Training started from '{start}' and everything is measured against '{base}' (model.base), so gains and "
            "drift hold what the model had learned before this run."
        )
    if tokens := [token for change in provenance.get("changes") or () for token in change.get("tokens", ())]:
        shown = ", ".join(map(repr, tokens[:SHOWN])) + (f" and {len(tokens) - SHOWN} more" if tokens[SHOWN:] else "")
        notes.append(
            f"Before training, tokens were added (model.add_tokens): {shown}. The base reads them too, each as the "
            "mean of its old pieces, so its bits per byte are not those of the untouched checkpoint."
        )
    return notes


def write_measured(run_dir: Path, provenance: Mapping[str, Any], documents: Mapping[str, int]) -> None:
    """After everything that it covers.

    Args:
        provenance: of the run; its base and data are what was measured.
        documents: set -> how many were scored.
    """
    run = Layout(run_dir)
    record = {
        "weights": tuned_identity(run.model),
        "base": base_of(provenance)["digest"],
        "data": provenance["data"],
        "documents": dict(documents),
        "files": {name: sha256_of([path]) for name, path in _covered(run, documents).items()},
    }
    write_json(run.measured, record)


def _covered(run: Layout, documents: Iterable[str]) -> dict[str, Path]:
    """Files whose digests are kept, by their place in the run folder."""
    apart = [run.untouched] if run.untouched.is_file() else []
    paths = (run.summary, run.data, *apart, *map(run.scores, documents))
    return {path.relative_to(run.path).as_posix(): path for path in paths}


def check_measured(run_dir: Path, provenance: Mapping[str, Any]) -> Origin:
    """That the numbers of a run folder are of its own weights, base and data, and were not edited since.

    Raises:
        RunError: they are not; the sentence says what is another one.
    """
    run, tuned = Layout(run_dir), provenance.get("tuned")
    path = run.measured
    if not path.is_file() and tuned is None:
        return Origin(None, False, {})
    again = f"Restore it, or run `acclimate eval {run_dir}`."
    if not path.is_file() or tuned is None:
        missing = "provenance.json holds no digest of its weights" if tuned is None else "eval/measured.json is missing"
        raise RunError(f"Nothing shows which weights the numbers of '{run_dir}' are of: {missing}. {again}")
    try:
        found = parsed(path)
        weights, base, data, files = (found[key] for key in ("weights", "base", "data", "files"))
        documents = {str(name): int(count) for name, count in found["documents"].items()}
        covered = {str(name): str(digest) for name, digest in files.items()}
        began, digests = base_of(provenance).get("digest"), provenance.get("data") or {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"'{path}' is damaged ({type(error).__name__}: {error}). {again}") from None
    check_weights(run_dir, provenance)
    if weights != tuned:
        raise RunError(
            f"The numbers in '{run.eval}' are of other weights than this run's training wrote "
            f"({_short(weights)}, not {_short(tuned)}). {again}"
        )
    if base != began:
        raise RunError(f"The numbers in '{run.eval}' were measured against another base than the run's. {again}")
    if other := sorted(name for name in {*data, *digests} if data.get(name) != digests.get(name)):
        raise RunError(f"The numbers in '{run.eval}' are of other data of {', '.join(other)}. {again}")
    for name, file in _covered(run, documents).items():
        check_file(file, covered.get(name), again)
    return Origin(str(tuned["digest"]), has_files(run.model), documents)


def check_weights(run_dir: Path, provenance: Mapping[str, Any]) -> None:
    """That model/, where it is there, is what the run's training wrote; of a run without digests nothing is known.

    Raises:
        RunError: it is another model.
    """
    tuned, folder = provenance.get("tuned"), Layout(run_dir).model
    if tuned is None or not has_files(folder):
        return
    here = tuned_identity(folder)
    if here == tuned:
        return
    what = "other weights" if here["digest"] != tuned.get("digest") else "another configuration or tokenizer"
    raise RunError(
        f"'{folder}' holds {what} than this run's training wrote ({_short(here)}, not {_short(tuned)}), so the run's "
        "numbers are not of them. Restore it, or measure it as a model of its own: `acclimate eval --model MODEL "
        "--base BASE --panel PANEL`."
    )


def check_panel(run_dir: Path, provenance: Mapping[str, Any], folder: Path) -> bool:
    """That a panel in the run's folder was measured on the run's weights and base, and was not edited since.

    Returns:
        Whether digests show it; False of a panel or a run of before they were kept.

    Raises:
        RunError: it was measured on something else, or edited.
    """
    again = f"Measure it again with `acclimate eval {run_dir} --panel FILE`, or remove the folder."
    panel = PanelLayout(folder)
    try:
        document = parsed(panel.document)
        model, base, asked = ({**(document.get(key) or {})} for key in ("model", "base", "panel"))
        files, sets = document.get("files"), list(document["sets"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"'{panel.document}' is damaged ({type(error).__name__}: {error}). {again}") from None
    tuned, began = provenance.get("tuned"), base_of(provenance).get("digest")
    if tuned is not None and "digest" in model and (document.get("tuned") or model)["digest"] != tuned.get("digest"):
        raise RunError(
            f"The panel '{folder}' was measured on other weights than this run's training wrote "
            f"({_short(model)}, not {_short(tuned)}). {again}"
        )
    if tuned is not None and document.get("tuned", tuned) != tuned:
        raise RunError(f"The panel '{folder}' was measured with another configuration or tokenizer. {again}")
    if "digest" in base and base["digest"] != began:
        raise RunError(f"'{folder}' was measured against another base than the run began with. {again}")
    if files is None:
        return False
    if asked.get("name") != folder.name:
        raise RunError(f"'{folder}' holds the panel '{asked.get('name')}', not '{folder.name}'. {again}")
    for name in sets:
        check_file(panel.items(name), files.get(panel.items(name).name), again)
    return tuned is not None and "digest" in model


def check_file(path: Path, digest: str | None, again: str) -> None:
    """
    Raises:
        RunError: the file is missing, or is not the one that was written.
    """
    if not path.is_file():
        raise RunError(f"'{path}' is missing, though it was written when the run was measured. {again}")
    if sha256_of([path]) != digest:
        raise RunError(f"'{path}' is not the file that was written when the run was measured. {again}")


def _short(identity: Mapping[str, Any]) -> str:
    return str(identity.get("digest"))[:19]
