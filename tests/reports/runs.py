"""Run folders that look like real ones, without a model."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from acclimate.paired.ratio import ratio_change
from acclimate.runs.folder import read_summary
from acclimate.runs.layout import write_lines
from acclimate.runs.scores import read_scores, write_scores

METHOD_TERMS = {
    "sft": ["loss/domain/ce"],
    "replay": ["loss/domain/ce", "loss/general/ce"],
    "mol": ["loss/domain/ce", "loss/general/kl"],
}
BASE = {"domain": 1.05, "general": 0.93, "chat": 0.71}


def write_run(
    folder: Path,
    method: str = "mol",
    seed: int = 0,
    *,
    domain: float = 0.82,
    general: float = 0.94,
    kl_general: float = 0.09,
    kl_chat: float = 0.11,
    base: dict[str, float] | None = None,
    names: dict[str, str] | None = None,
    spread: float = 0.04,
    documents: int = 40,
    steps: int = 240,
    config: dict[str, Any] | None = None,
    model_digest: str = "sha256:4c1b7a90d2f3",
    answer: str = "Tachycardia is a heart rate above 100 beats per minute at rest.",
) -> Path:
    """Writes a finished run. ``spread`` is half an interval over its value; ``names`` renames sets by role."""
    folder.mkdir(parents=True)
    base = BASE | (base or {})
    names = {role: role for role in BASE} | (names or {})
    settings: dict[str, Any] = {
        "version": 1,
        "name": folder.name,
        "seed": seed,
        "method": method,
        "model": {"path": "HuggingFaceTB/SmolLM2-135M-Instruct"},
        "sources": {names[role]: {"path": f"data/{role}.jsonl", "role": role} for role in BASE},
        "optimizer": {"learning_rate": 5e-4, "weight_decay": 0.0},
        "schedule": {"type": "cosine"},
        "budget": {"count": names["domain"], "epochs": 3.0, "batch_tokens": 2048},
        "data": {"sequence_length": 512},
    } | (config or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    _json(folder / "provenance.json", _provenance(seed, names, model_digest))
    _json(
        folder / "summary.json",
        {"records": _summary(method, seed, names, base, domain, general, kl_general, kl_chat, spread, documents)},
    )
    _scores(folder / "eval", f"{method}{seed}", names, base, domain, general, kl_general, kl_chat, documents)
    for role, name in names.items():
        if (path := folder / "eval" / f"{name}.jsonl").is_file():
            scores = read_scores(path)
            bits = (scores[side] / math.log(2) for side in ("nats", "base_nats"))
            found = ratio_change(*bits, scores["bytes"])
            add_change(folder, found.value, (found.high - found.low) / 2, found.mde, name, role)
    _metrics(folder / "metrics.jsonl", method, seed, base, domain, general, kl_general, steps, names)
    prompts = ["What is tachycardia?", "Write a two-line poem about the sea.", "How do I boil an egg?"]
    answers = [
        {
            "set": names["domain"] if index == 0 else names["chat"],
            "prompt": prompt,
            "base": "Certainly! I'd be happy to help you with that question about health.",
            "tuned": answer if index == 0 else "The sea is wide, the sea is deep,\nit hums the tired shore to sleep.",
        }
        for index, prompt in enumerate(prompts)
    ]
    _json(folder / "generations.json", {"answers": answers})
    _json(folder / "data.json", _data(method, names, steps))
    return folder


def three_methods(folder: Path, seeds: int = 1, **overrides: Any) -> list[Path]:
    """sft, replay and mol as they come out on SmolLM2-135M at a learning rate that forgets."""
    numbers = {
        "sft": {"domain": 0.812, "general": 1.004, "kl_general": 0.41, "kl_chat": 0.50},
        "replay": {"domain": 0.815, "general": 0.948, "kl_general": 0.22, "kl_chat": 0.34},
        "mol": {"domain": 0.806, "general": 0.941, "kl_general": 0.071, "kl_chat": 0.131},
    }
    runs = []
    for method, values in numbers.items():
        for seed in range(seeds):
            noise = random.Random(f"{method}{seed}")
            moved = {key: value * (1 + noise.gauss(0, 0.012)) for key, value in values.items()}
            name = f"demo-{method}-s{seed}" if seeds > 1 else f"demo-{method}"
            runs.append(write_run(folder / name, method, seed, **(moved | overrides)))
    return runs


def edit_summary(folder: Path, **changes: Any) -> None:
    """Sets fields of every record of the tuned model that matches ``set`` and ``metric``."""
    where = {key: changes.pop(key) for key in ("run", "set", "metric") if key in changes}
    records = read_summary(folder / "summary.json")
    for record in records:
        if all(record[key] == value for key, value in where.items()):
            record.update(changes)
    _json(folder / "summary.json", {"records": records})


def add_change(folder: Path, value: float, half: float, mde: float, name: str = "domain", role: str = "domain") -> None:
    """The paired change of bits per byte, as `acclimate eval` writes it; in the place of the one that is there."""
    drop_change(folder, name)
    records = read_summary(folder / "summary.json")
    method = next(record["run"] for record in records if record["run"] != "base")
    identity = {"run": method, "seed": records[0]["seed"], "set": name, "role": role}
    bounds = {"value": value, "low": value - half, "high": value + half, "n": 40, "p": 0.2, "mde": mde}
    _json(
        folder / "summary.json",
        {"records": [*records, identity | {"metric": "bits_per_byte_change", "unit": "bits/byte"} | bounds]},
    )


def drop_change(folder: Path, name: str = "domain") -> None:
    """As in folders of before 2026-11-22."""
    kept = [
        r for r in read_summary(folder / "summary.json") if (r["set"], r["metric"]) != (name, "bits_per_byte_change")
    ]
    _json(folder / "summary.json", {"records": kept})


def add_panel(folder: Path, context: str = "Which organ filters blood?", answer: str = "the kidney") -> None:
    """RUN/panels/exam with two choice sets and a cloze, 4 items each: one answer lost and two won of the first."""
    panel = folder / "panels" / "exam"
    panel.mkdir(parents=True)
    records = []
    for name, change, p in (("anatomy", 0.25, 0.6), ("history", -0.25, 0.01)):
        identity = {"set": name, "role": "general", "n": 4}
        for side, value in (("model", 0.5 + change), ("base", 0.5)):
            bounds = {"value": value, "low": value - 0.2, "high": value + 0.2}
            records.append(identity | {"run": side, "metric": "accuracy", "unit": "share of items"} | bounds)
        found = {"value": change, "low": change - 0.125, "high": change + 0.125, "p": p, "p_holm": 2 * p, "mde": 0.3125}
        records.append(identity | {"run": "model", "metric": "accuracy_change", "unit": "share of items"} | found)
        records.append(
            identity | {"run": "model", "metric": "kl_base_tuned", "value": 0.0625, "low": 0.05, "high": 0.1}
        )
    flips = {"anatomy": ("lost", "won", "won", "same"), "history": ("lost", "same", "same", "same")}
    for name, kinds in flips.items():
        lines = []
        for index, kind in enumerate(kinds):
            right, picked = (kind != "won", kind != "lost") if kind != "same" else (True, True)
            nats = {"lost": -3.0 - index, "won": 2.0 + index, "same": 0.0}[kind]
            line = {"where": f"{name}.jsonl:{index + 1}", "right": 0, "model": [nats - 1, -2.0], "base": [-1.0, -2.0]}
            line |= {"context": f"{context} ({index})", "choices": [answer, "the skin"]}
            line |= {"base_correct": right, "base_picked": int(not right)}
            lines.append(line | {"model_correct": picked, "model_picked": int(not picked)})
        write_lines(panel / f"{name}.jsonl", lines)
    cloze = {"where": "c.jsonl:1", "right": 0, "model": [-1.0], "base": [-2.0], "context": "It is", "choices": ["so"]}
    cloze |= {"base_correct": False, "model_correct": True}
    write_lines(panel / "last.jsonl", [cloze])
    sets = {name: {"kind": "choice", "role": "general"} for name in flips} | {
        "last": {"kind": "cloze", "role": "general"}
    }
    settings = {"name": "exam", "digest": "sha256:ab", "template": "plain"}
    _json(
        panel / "panel.json",
        {
            "name": folder.name,
            "panel": settings,
            "base": {"path": "base", "digest": "sha256:4c1b7a90d2f3"},
            "sets": sets,
            "records": records,
        },
    )


def add_memorisation(folder: Path, name: str = "domain", missing: str | None = None) -> None:
    """RUN/memorisation/: training text gained 0.30 bits per byte, held-out text 0.25."""
    bounds = {"low": 0.04, "high": 0.06, "value": 0.05}
    changes = {"training_change": -0.3, "heldout_change": -0.25}
    entry: dict[str, Any] = {"measured": 20, "trained_on": 1200}
    entry |= {key: {"value": v, "low": v - 0.02, "high": v + 0.02, "n": 20} for key, v in changes.items()}
    entry |= {"gap": bounds, "bits_per_parameter": bounds | {"value": 0.055}, "heldout_bits_per_parameter": bounds}
    sources = {name: entry} | ({missing: {"not_measured": "streamed"}} if missing else {})
    (folder / "memorisation").mkdir()
    _json(folder / "memorisation" / "check.json", {"sources": sources})


def _json(path: Path, document: dict[str, Any]) -> None:
    """Half surrogates and all."""
    path.write_text(json.dumps({"version": 1} | document, indent=1))


def _summary(
    method: str, seed: int, names: dict[str, str], base: dict[str, float], domain: float, general: float,
    kl_general: float, kl_chat: float, spread: float, documents: int,
) -> list[dict[str, Any]]:  # fmt: skip
    tuned = {"domain": domain, "general": general, "chat": base["chat"] * (1 + kl_chat / 6)}
    drift = {"domain": 0.46, "general": kl_general, "chat": kl_chat}
    records = []
    for role, name in names.items():
        rows = [("base", "bits_per_byte", "bits/byte", base[role], spread)]
        rows += [(method, "bits_per_byte", "bits/byte", tuned[role], spread)]
        rows += [(method, "kl_base_tuned", "nats/token", drift[role], 2 * spread)]
        rows += [(method, "kl_tuned_base", "nats/token", 1.1 * drift[role], 2 * spread)]
        rows += [(method, "top1_agreement", "share", math.exp(-drift[role] * 0.7), spread / 4)]
        for run, metric, unit, value, width in rows:
            records.append(
                {"run": run, "seed": seed, "set": name, "role": role, "metric": metric, "unit": unit, "value": value,
                 "low": value * (1 - width), "high": value * (1 + width), "n": documents}
            )  # fmt: skip
    return records


def _scores(
    folder: Path, run: str, names: dict[str, str], base: dict[str, float], domain: float, general: float,
    kl_general: float, kl_chat: float, documents: int,
) -> None:  # fmt: skip
    """Scores by document whose sums give the summary's values; documents are the same in every run, and what each run
    does to one of them varies by about as much as the summary's intervals say."""
    tuned = {"domain": domain, "general": general, "chat": base["chat"] * (1 + kl_chat / 6)}
    drift = {"domain": 0.46, "general": kl_general, "chat": kl_chat}
    for role, name in names.items():
        draw = np.random.default_rng(len(role))
        size = np.round(400 + 400 * draw.random(documents))
        tokens = np.ceil(size / 4)
        hard = np.exp(0.13 * draw.standard_normal(documents))
        own = np.random.default_rng(list(f"{run}{role}".encode()))
        moved, luck = np.exp(0.26 * own.standard_normal(documents)), 0.1 * own.standard_normal(documents)
        before = base[role] * math.log(2) * size * hard * (size.sum() / (size * hard).sum())
        change = (tuned[role] - base[role] + luck - (size * luck).sum() / size.sum()) * math.log(2) * size
        kl = drift[role] * tokens * moved * (tokens.sum() / (tokens * moved).sum())
        agree = np.round(tokens * math.exp(-drift[role] * 0.7))
        columns = {"nats": before + change, "base_nats": before, "bytes": size, "tokens": tokens}
        places = [f"source '{role}', /home/ada/data/{role}.jsonl:{i + 1}" for i in range(documents)]
        texts = [f"Document {i + 1} of {role}, as it begins." for i in range(documents)]
        if not set(name) & set("/<>\n"):  # which no source may be called; some tests do
            write_scores(folder / f"{name}.jsonl", places, columns | {"kl_base_tuned": kl, "agree": agree}, texts)


def _provenance(seed: int, names: dict[str, str], model_digest: str) -> dict[str, Any]:
    return {
        "acclimate": "0.1.0",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.2.0", "peft": "0.19.0"},
        "platform": {"system": "Linux", "machine": "x86_64", "device": "cpu", "threads": 2},
        "model": {"path": "HuggingFaceTB/SmolLM2-135M-Instruct", "revision": None, "digest": model_digest},
        "data": {name: f"sha256:{role}0f3a" for role, name in names.items()},
        "config_digest": f"sha256:{seed:04d}ab12cd",
        "commit": "3f9c2e1",
        "started": f"2026-02-0{seed + 1}T10:00:00+00:00",
        "finished": f"2026-02-0{seed + 1}T10:14:41+00:00",
        "wall_seconds": 881.4 + seed,
    }


def _metrics(
    path: Path, method: str, seed: int, base: dict[str, float], domain: float, general: float, kl: float, steps: int,
    names: dict[str, str],
) -> None:  # fmt: skip
    noise = random.Random(f"{method}-{seed}-curve")
    speed = {"sft": 1450.0, "replay": 760.0}.get(method, 520.0)
    lines: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        part = 1 - math.exp(-4 * step / steps)
        line: dict[str, float] = {"step": step, "learning_rate": 5e-4 * (1 - step / steps)}
        for key in METHOD_TERMS.get(method, ["loss/domain/ce"]):
            _, role, term = key.split("/")
            start, end = {"domain": (3.1, 2.2), "general": (2.9, 2.75)}[role] if term == "ce" else (0.0, kl)
            value = start + (end - start) * part
            line[f"loss/{names[role]}/{term}"] = value + noise.gauss(0, 0.06 * max(value, 0.02))
            line[f"trained_tokens/{names[role]}"] = 2048 * step
        line["loss"] = sum(value for key, value in line.items() if key.startswith("loss/"))
        line |= {"gradient_norm": 1.1 + noise.random(), "tokens_per_second": speed * (1 + noise.gauss(0, 0.03))}
        lines.append(line)
        if step % max(1, steps // 6) == 0:
            lines.append(
                {
                    "step": step,
                    f"eval/{names['domain']}/bits_per_byte": base["domain"] + (domain - base["domain"]) * part,
                }
            )
            lines.append(
                {
                    "step": step,
                    f"eval/{names['general']}/bits_per_byte": base["general"] + (general - base["general"]) * part,
                }
            )
    write_lines(path, lines)


def _data(method: str, names: dict[str, str], steps: int) -> dict[str, Any]:
    used = {"sft": ["domain"]}.get(method, ["domain", "general"])
    sources = {
        names[role]: {
            "role": role, "documents": 1240, "train_documents": 1200, "heldout_documents": 40, "tokens": 41_230,
            "trained_tokens": 2048 * steps if role in used else 0, "share": 1 / len(used) if role in used else 0.0,
            "dropped": {"empty": 3, "longer than 8192 tokens": 1} if role == "domain" else {},
        }
        for role in names
    }  # fmt: skip
    return {
        "sources": sources,
        "overlap": [
            {"train_source": names["domain"], "heldout_source": names["domain"], "documents": 40, "documents_hit": 1,
             "ngrams": 2610, "ngrams_hit": 14},
            {"train_source": names["general"], "heldout_source": names["general"], "documents": 40, "documents_hit": 0,
             "ngrams": 5120, "ngrams_hit": 0},
        ],
        "parameters": {"trained": 134_515_008, "total": 134_515_008},
        "steps": steps,
    }  # fmt: skip
