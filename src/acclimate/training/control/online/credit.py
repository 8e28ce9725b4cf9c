"""The controller that credits sources with what held-out sets improve. It moves nothing: DIDS reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acclimate.training.control.online.dids import influence, progress
from acclimate.types.dials import Dial


class Credit:
    """``credit/<source>`` [nats/token]: the mean over sets of the source's influence times the set's progress.

    It keeps the losses of each set so far. A source that the measured step held none of keeps the values that it had
    [ours]: the authors measure rows beside those of the step, so that none is absent [from code]. Nothing is credited
    before each source was measured once, and each set twice [ours].

    Args:
        sources: whose shares are moved.
        sets: held-out sets.
    """

    name = "credit"
    reads: tuple[str, ...] = ()
    infeasible: str | None = None

    def __init__(self, sources: Sequence[str], sets: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self.losses: dict[str, list[float]] = {name: [] for name in sets}
        self.values: dict[str, dict[str, float]] = {name: {} for name in sets}

    def on_measured(self, measured: Mapping[str, float], dials: Mapping[str, Dial]) -> dict[str, float]:
        """Adds ``influence/<source>``, the mean over sets of what is credited to it, and ``credit/<source>``."""
        if not any(f"validation/{name}" in measured for name in self.losses):
            return {}
        for name, losses in self.losses.items():
            losses.append(measured[f"validation/{name}"])
            of_set = self.values[name]
            of_set |= {
                source: measured[key] for source in self.sources if (key := f"fisher/{source}/{name}") in measured
            }
        if any(source not in of_set for of_set in self.values.values() for source in self.sources):
            return {}
        values = np.array([[of_set[source] for of_set in self.values.values()] for source in self.sources])
        credited = influence(values)  # [K, E]
        told = {
            f"influence/{source}": part for source, part in zip(self.sources, credited.mean(1).tolist(), strict=True)
        }
        if min(map(len, self.losses.values())) < 2:
            return told
        credit = (credited * [progress(losses) for losses in self.losses.values()]).mean(1)
        return told | {f"credit/{source}": nats for source, nats in zip(self.sources, credit.tolist(), strict=True)}

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bitwise: JSON keeps every digit of a float."""
        self.losses = {name: list(losses) for name, losses in state["losses"].items()}
        self.values = {name: dict(of_set) for name, of_set in state["values"].items()}
