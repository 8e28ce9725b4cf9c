"""The commented configuration that ``acclimate init`` writes."""

from __future__ import annotations

from pathlib import Path

import yaml

from acclimate.config.schemas import schema_line
from acclimate.disk.files import write_text
from acclimate.types.errors import UsageError

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TEMPLATE = """\
# One run. Check it with `acclimate validate {path}`, start it with `acclimate train {path}`.
version: 1
name: my-run                     # the run folder is {{output_dir}}/{{name}}
output_dir: runs
seed: 0

model:
  path: {model}
  dtype: auto                    # float32, bfloat16 (with float32 masters), or auto: what is faster here

lora:                            # delete this section for full tuning
  rank: 16
  alpha: 32

method: mol                      # CE on domain tokens, KL to the base on general tokens; see `acclimate methods`

sources:                         # file, folder, glob, URL or hub id of .txt, .md, .jsonl, .csv, ...: docs/howto/data.md
  domain:
    path: {domain}
    share: 0.5                   # of all trained tokens
    heldout: 0.05                # documents kept for evaluation: a share, or a count
  general:                       # path: self has the model write this text itself (docs/howto/replay.md)
    path: {general}
    share: 0.5
    heldout: 0.05

budget:
  count: domain                  # tokens below are trained tokens of this source (or: all)
  epochs: 1                      # or tokens: 1000000, or steps: 500
  batch_tokens: 4096             # per optimizer step

optimizer:
  learning_rate: {rate}            # LoRA: 1e-3 for 0.1B weights, 2e-4 for billions; full tuning: 2e-4, 1e-5 to 5e-5
schedule:
  type: cosine                   # linear, constant, wsd
  warmup_ratio: 0.05

data:
  sequence_length: 512
training:
  micro_batch_size: 2            # packed rows in one forward; lower it if memory runs out
  eval_steps: 50
  save_steps: 200
report_to: []                    # [wandb, mlflow, trackio, tensorboard]
"""


def write_template(path: Path, domain: str, general: str, model: str) -> None:
    """Writes the template, never over a file that exists.

    The learning rate is that which the comparison chose for the default model [ours,
    benchmarks/2026-11-22-comparison.md], and the customary one for any other, which is likely to be larger.
    """
    if path.exists():
        raise UsageError(f"'{path}' exists and is left alone; give another path: acclimate init other.yaml")
    if not path.parent.is_dir():
        raise UsageError(f"The folder '{path.parent}' does not exist; make it, or give another path.")
    quoted = {key: _scalar(value) for key, value in {"domain": domain, "general": general, "model": model}.items()}
    rate = "1e-3" if model == DEFAULT_MODEL else "2e-4"
    write_text(path, schema_line(path) + TEMPLATE.format(path=path, rate=rate, **quoted))


def _scalar(value: str) -> str:
    """The value as YAML, quoted where it must be."""
    return yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()
