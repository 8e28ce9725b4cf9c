"""Can a forgetful fine-tune be repaired? recipes/repair.yaml's method on the demo's model and corpora.

python benchmarks/repair.py OUTPUT  (finished runs are kept; prints the table)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from acclimate.config.load import RunConfig
from acclimate.demo.corpora import prepare
from acclimate.demo.experiment import FULL, demo_config
from acclimate.verbs.run import train

FORGETFUL_RATE, RATE = 1e-3, 2e-4
COLUMNS = {"medical": ("bits_per_byte",), "general": ("bits_per_byte", "kl_base_tuned"), "chat": ("kl_base_tuned",)}


def runs(output: Path) -> list[RunConfig]:
    """The forgetful run, its repair, and mol, which needs the domain's text but no expert."""
    data = prepare(Path("~/.cache/acclimate").expanduser(), False, say=print)
    forgetful = output / "forgetful"
    methods: dict[str, Any] = {
        "forgetful": "sft",
        "repaired": {"name": "dae", "expert": str(forgetful)},
        "mol": "mol",
    }
    configs = []
    for name, method in methods.items():
        rate = FORGETFUL_RATE if name == "forgetful" else RATE
        config = demo_config(data, FULL, output, name, "sft", rate, seed=0)
        normalise = {"normalise": "all"} if name == "repaired" else {}
        configs.append(
            config.model_copy(
                update={
                    "method": method,
                    "objective": config.objective.model_copy(update=normalise),
                    "training": config.training.model_copy(update={"eval_steps": None}),
                    "evaluation": config.evaluation.model_copy(update={"generations": 0}),
                }
            )
        )
    return configs


def main() -> None:
    titles = [f"{name} {metric}" for name, metrics in COLUMNS.items() for metric in metrics]
    print(f"| run | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}", flush=True)
    for config in runs(Path(sys.argv[1])):
        found = {(r["run"] == "base", r["set"], r["metric"]): r for r in train(config, True, Console()).summary}
        for base in (True, False) if config.name == "forgetful" else (False,):
            cells = []
            for name, metrics in COLUMNS.items():
                for metric in metrics:
                    r = found.get((base, name, metric))
                    cells.append(f"{r['value']:.3f} ({r['low']:.3f} to {r['high']:.3f})" if r else "")
            print(f"| {'base' if base else config.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
