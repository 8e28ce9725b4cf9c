"""A panel of benchmarks in any transformers ``Trainer``: the model as it trains beside its base, item by item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acclimate.measurement.panel.items import read_items
from acclimate.measurement.panel.schema import PanelConfig, load_panel
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference, base_reference
from acclimate.trl.watching import Watching
from acclimate.types.errors import ConfigError, UsageError
from acclimate.verbs.panel.evaluate import PanelResult, evaluate_panel


class ForgettingPanel(Watching):
    """Puts the items of a panel to the model and to its base, at the end of training and every ``every`` steps.

    It logs ``panel/<set>/<metric>`` of the model and ``panel/<set>/<metric>_change``, paired by item; ``results`` holds
    every :class:`~acclimate.verbs.panel.PanelResult` by step, with intervals and p-values. A full model keeps a frozen
    copy of the base for it, which costs the weights once; an adapter is switched off.

    Args:
        panel: a panel's YAML file, or one that is loaded.
        every: steps between two measurements; None: only after the last.

    Raises:
        UsageError, ConfigError: it is no panel, or an item cannot be read.

    Example:
        >>> import acclimate as ac
        >>> watch = ac.ForgettingPanel("panel.yaml", every=500)  # then Trainer(..., callbacks=[watch])
        >>> list(watch.panel.sets)
        ['wiki']
    """

    def __init__(self, panel: str | Path | PanelConfig, *, every: int | None = None) -> None:
        if not isinstance(panel, str | Path | PanelConfig):
            raise UsageError(f"ForgettingPanel: panel is a {type(panel).__name__}; accepted: the path of a panel.")
        self.panel = panel if isinstance(panel, PanelConfig) else load_panel(panel)
        try:
            for name, section in self.panel.sets.items():
                if section.kind != "lm_eval":
                    read_items(name, section, self.panel.seed)
        except ConfigError as error:
            raise ConfigError(self.panel.places.locate(str(error))) from None
        super().__init__(self.panel.name, every)
        self.base: Reference | None = None
        self.results: dict[int, PanelResult] = {}

    def attach(self, trainer: Any) -> None:
        references: Mapping[str, Reference] = getattr(getattr(trainer, "objective", None), "references", {})
        if hasattr(references.get("base"), "generator"):
            self.base = references["base"]  # no second copy beside the objective's
        super().attach(trainer)

    def begin(self, model: CausalModel) -> None:
        self.base = self.base or base_reference(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.every is not None and state.global_step % self.every == 0:
            self._measure(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._measure(state)  # also where it was measured: a budget may have moved the weights meanwhile

    def _measure(self, state: Any) -> None:
        assert self.model is not None
        assert self.base is not None
        found = self.results[state.global_step] = evaluate_panel(self.model, self.base, self.panel)
        self._log(
            state,
            {
                f"panel/{record['set']}/{record['metric']}": float(record["value"])
                for record in found.records
                if record["run"] == "model" and "value" in record
            },
        )
