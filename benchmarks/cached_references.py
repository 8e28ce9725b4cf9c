"""What it saves to keep the base's last hidden states: a mol step with the reference's forward, and with kept states.

    python benchmarks/cached_references.py --model FOLDER --domain FILE --general FILE [--rounds 8] > PAGE

Three contenders see the same rows: `forward` asks the base, `kept` reads what the base said of the same text in an
earlier run (2 D bytes a token in memory, exact logits through the frozen head), `fills` is that earlier run. Then, from
tables of finished comparisons, what a whole `acclimate compare` could save at most: every anchored cell but the first
finds everything that it needs, and reading it costs nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from alternate import header, middle, race, ratios, serve, spread
from step import fixed_arguments, one_step, training
from torch import Tensor

from acclimate.kernels.head import Head
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.runs.cells import Row, read_table
from acclimate.training.training import Training
from acclimate.types.central import IGNORE, Batch, Callback, Metrics, TrainingState

CONTENDERS = ("forward", "kept", "fills")
WARMUP = 2
BAR = 0.10
"""Of the time of `compare` from end to end."""


class Kept:
    """The base's hidden states by what it read: a piece of a document sees nothing else of its row.

    Args:
        compared: [R] bool, routes whose tokens are compared; of the others nothing is kept, and zeros are given.
    """

    def __init__(self, reference: Reference, compared: Tensor, store: dict[bytes, Tensor]) -> None:
        self.reference, self.compared, self.store = reference, compared, store
        self.missed = 0

    @property
    def head(self) -> Head:
        return self.reference.head

    @property
    def model(self) -> CausalModel:
        return self.reference.model

    @property
    def tokenizer(self) -> Any:
        return self.reference.tokenizer

    def hidden(self, batch: Batch) -> Tensor:
        pieces = self._pieces(batch)
        if any(key not in self.store for key in pieces.values()):
            self.missed += 1
            states = self.reference.hidden(batch)
            for (row, start, end), key in pieces.items():
                self.store[key] = states[row, start:end].clone()
            return states
        dtype = next(iter(self.store.values())).dtype
        states = torch.zeros(*batch.input_ids.shape, self.model.network.config.hidden_size, dtype=dtype)
        for (row, start, end), key in pieces.items():
            states[row, start:end] = self.store[key]
        return states

    def _pieces(self, batch: Batch) -> dict[tuple[int, int, int], bytes]:
        """(row, from, to) of every piece with a compared token -> its tokens."""
        wanted = self.compared[batch.route] & (batch.labels != IGNORE)
        found = {}
        for row in range(len(batch.input_ids)):
            starts = [*(batch.position_ids[row] == 0).nonzero().flatten().tolist(), batch.input_ids.shape[1]]
            for start, end in itertools.pairwise(starts):
                if wanted[row, start:end].any():
                    found[row, start, end] = batch.input_ids[row, start:end].numpy().tobytes()
        return found


class Watch(Callback):
    """Keeps every step's KL."""

    def __init__(self) -> None:
        self.kl: list[float] = []

    def on_step_end(self, state: TrainingState, metrics: Metrics) -> None:
        self.kl.append(metrics["loss/general/reverse_kl"])


def with_kept(built: Training, store: dict[bytes, Tensor]) -> Kept:
    """Puts kept states before the run's only reference."""
    ((name, reference),) = built.objective.references.items()
    kept = Kept(reference, torch.tensor(built.objective.compares > 0), store)
    built.objective = replace(built.objective, references={name: kept})
    return kept


def contender(arguments: argparse.Namespace) -> Callable[[], dict[str, Any]]:
    store: dict[bytes, Tensor] = {}
    if arguments.contender == "kept":
        before = training(arguments, "mol")
        kept = with_kept(before, store)
        for _ in range(WARMUP + arguments.rounds):
            for batch in before.data.next_step():
                if (torch.tensor(before.objective.compares > 0)[batch.route] & (batch.labels != IGNORE)).any():
                    kept.hidden(batch)
        before.data.close()
        del before
    built = training(arguments, "mol")
    reads = with_kept(built, store) if arguments.contender != "forward" else None
    watch = Watch()
    built.callbacks = (watch,)
    step = one_step(built)

    def work() -> dict[str, Any]:
        found = step() | {"kl": watch.kl[-1]}
        if reads is not None:
            found |= {"missed": reads.missed, "mib": sum(s.numel() * s.element_size() for s in store.values()) / 2**20}
        return found

    return work


def compare(arguments: argparse.Namespace) -> None:
    print(header("Kept hidden states in place of the reference's forward", ["torch", "transformers", "peft"]))
    print(
        f"{Path(arguments.model).name}, bfloat16, {arguments.tokens} trained tokens a step, half of them general, "
        f"{arguments.rounds} rounds, 2 threads. The floor of kept / forward is 6/7 = 0.86 under full tuning and "
        "4/5 = 0.80 with LoRA, where no row is padded.\n"
    )
    print(
        "| | forward, ms/token | kept, ms/token | kept / forward | range | fills / forward | kept states | "
        "KL of a step, largest difference |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    saved = {}
    for tuning in ("full", "lora"):
        fixed = ["--model", arguments.model, "--domain", arguments.domain, "--general", arguments.general]
        fixed += ["--tokens", str(arguments.tokens), "--rounds", str(arguments.rounds)]
        fixed += ["--tuning", tuning, "--dtype", "bfloat16"]
        samples = race(__file__, {name: [name, *fixed] for name in CONTENDERS}, arguments.rounds, warmup=WARMUP)
        for one, two, three in zip(*(samples[name] for name in CONTENDERS), strict=True):
            assert one["tokens"] == two["tokens"] == three["tokens"], "they did not see the same rows"
            assert not two["missed"], "a piece was not kept"
        for sample in [s for found in samples.values() for s in found]:
            sample["each"] = 1000 * sample["wall"] / sample["tokens"]
        ratio, between = ratios(samples, "kept", "forward", "each")
        apart = max(abs(a["kl"] - b["kl"]) for a, b in zip(samples["forward"], samples["kept"], strict=True))
        filling, _ = ratios(samples, "fills", "forward", "each")
        saved[tuning] = 1 - ratio
        print(
            f"| {tuning} | {spread(samples['forward'], 'each')} | {spread(samples['kept'], 'each')} | "
            f"**{ratio:.2f}** | {between} | {filling:.2f} | {middle(samples['kept'], 'mib'):.1f} MiB | {apart:.1e} |",
            flush=True,
        )
    print(f"\n{bounds(arguments.tables, saved)}")


def bounds(tables: Sequence[Path], saved: Mapping[str, float]) -> str:
    """What comparisons could save at most, from their own seconds."""
    lines = [
        "| table | cells | wall, min | in steps | in steps of anchored cells | saved at most, all cells | "
        "saved at most, only sft and mol |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in tables:
        cells = [row for row in read_table(path) if row.costs and row.made.get("finished")]
        if not any(map(anchored, cells)):
            continue
        walls = sum(map(wall, cells))
        steps = sum(row.costs["train_seconds"] for row in cells)
        anchor = [row for row in cells if anchored(row)]
        pair = [row for row in cells if anchored(row) or family(row) == "sft"]
        lines.append(
            f"| {path.parent.name}/{path.name} | {len(cells)} | {walls / 60:.0f} | {steps / walls:.0%} | "
            f"{sum(row.costs['train_seconds'] for row in anchor) / walls:.0%} | {could_save(cells, saved):.1%} | "
            f"{could_save(pair, saved):.1%} |"
        )
    return "\n".join(lines)


def could_save(cells: Sequence[Row], saved: Mapping[str, float]) -> float:
    """A part of their wall time: the reference's part of every anchored cell but the first."""
    anchor = [row for row in cells if anchored(row)]
    gained = sum(saved["lora" if "lora" in row.method else "full"] * row.costs["train_seconds"] for row in anchor[1:])
    return gained / sum(map(wall, cells))


def anchored(row: Row) -> bool:
    return family(row) == "mol"


def family(row: Row) -> str:
    return row.method.partition("-")[0]


def wall(row: Row) -> float:
    """Seconds from the start of the process to its end."""
    started, finished = (datetime.fromisoformat(row.made[name]) for name in ("started", "finished"))
    return (finished - started).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    worker = sys.argv[1:2] == ["worker"]
    if worker:
        parser.add_argument("worker")
        parser.add_argument("contender", choices=CONTENDERS)
        parser.add_argument("--tuning", default="full")
        parser.add_argument("--dtype", default="bfloat16")
    fixed_arguments(parser)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--tables", nargs="*", type=Path, default=sorted(Path(__file__).parent.glob("*/*.jsonl")))
    arguments = parser.parse_args()
    if worker:
        serve(contender(arguments))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
