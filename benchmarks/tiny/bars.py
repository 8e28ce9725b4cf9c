"""What a row of results must show."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.tiny.rows import Row

ROUNDING = 1e-5
"""Relative, of a document's nats and of the largest logit."""
MERGED = 1e-4
"""The same of logits where an adapter's product was rounded into the weights."""
LEARNED = 1e-6
"""By so much the logits have moved at least; without it nothing else would say anything."""
NOT_TRAINED = ("not_built", "ended", "traceback", "refused")


def outcome(row: Row) -> str:
    """``trains``, or why not: one of :data:`NOT_TRAINED`."""
    return next((key for key in NOT_TRAINED if key in row), "trains")


def trains(row: Row) -> str:
    return "" if outcome(row) == "trains" else f"{outcome(row).replace('_', ' ')}: {row[outcome(row)]}"


def validates(row: Row) -> str:
    return said(row["validate"]) if "validate" in row and outcome(row) == "trains" else ""


def untouched_at_start(row: Row) -> str:
    return f"KL at step 0 is {row['kl']:.2g}" if row["kl"] else ""


def as_alone(row: Row) -> str:
    wrong = {name: error for name, error in row["alone"].items() if not error <= ROUNDING}
    return "; ".join(f"{name} loss differs by {error:.2g} from documents alone" for name, error in wrong.items())


def learns(row: Row) -> str:
    return "" if row["moved"] > LEARNED else "nothing was learned"


def frozen(row: Row) -> str:
    return f"moved without a gradient: {', '.join(row['touched'])}" if row["touched"] else ""


def resumes(row: Row) -> str:
    return said(row["resume"]) if "resume" in row else ""


def exports(row: Row) -> str:
    """Every tensor, shape and setting is the source's."""
    found = []
    for kind, export in row["exports"].items():
        if text := said(export):
            found.append(f"{kind}: {text}")
        found += [f"{kind}, {what}: {', '.join(names)}" for what, names in export.get("unlike", {}).items()]
    return "; ".join(found)


def reloads(row: Row) -> str:
    found = []
    for kind, export in row["exports"].items():
        if "reload" in export:
            found.append(f"{kind}: {said(export['reload'])}")
        elif "logits" in export and not export["logits"] <= (MERGED if kind == "merged" else ROUNDING):
            found.append(f"{kind}: logits differ by {export['logits']:.2g}")
    return "; ".join(found)


BARS: dict[str, Callable[[Row], str]] = {
    "trains": trains,
    "validates": validates,
    "KL 0 at step 0": untouched_at_start,
    "loss of documents alone": as_alone,
    "learns": learns,
    "frozen tensors untouched": frozen,
    "resumes bitwise": resumes,
    "exported whole": exports,
    "reloads with the run's logits": reloads,
}
"""Name -> "" where a row holds it, or what it shows instead."""


def shortfalls(row: Row) -> dict[str, str]:
    """Bar -> what the row shows instead; where it does not train, that alone."""
    if text := trains(row):
        return {"trains": text}
    found = {name: bar(row) for name, bar in BARS.items()}
    return {name: text for name, text in found.items() if text}


def said(result: Row) -> str:
    return str(result.get("refused") or result.get("traceback") or "")
