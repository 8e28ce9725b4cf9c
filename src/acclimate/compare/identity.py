"""What a configuration trains, apart from where things are and how the work is spread."""

from __future__ import annotations

from typing import Any

from acclimate.config import RunConfig

ELSEWHERE = ("name", "output_dir", "report_to", "parallel")
ELSEWHERE_IN = {
    "model": ("path", "device"),
    "data": ("cache_dir",),
    "training": ("save_steps", "keep_last", "micro_batch_size", "gradient_checkpointing"),
}


def identity(config: RunConfig) -> dict[str, Any]:
    """Plain data, equal for equal work on any machine.

    Only what differs from the defaults counts, so that a new setting does not make an old table worthless.
    """
    plain = config.model_dump(mode="json", exclude_defaults=True)
    for name in ELSEWHERE:
        plain.pop(name, None)
    for section, names in ELSEWHERE_IN.items():
        plain[section] = {key: value for key, value in plain.get(section, {}).items() if key not in names}
    for source in plain["sources"].values():
        source.pop("path")
    return plain
