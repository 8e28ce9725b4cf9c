"""The commented configuration that ``acclimate init`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from acclimate.config.schemas import write_with_schema
from acclimate.types.errors import UsageError

COLUMN = 32
DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Suited:
    """What suits a model on a machine, and why: values and comments of the template."""

    about: str = "hub id, local folder or .gguf file"
    rate: float = 2e-4
    rate_why: str = "LoRA: 1e-3 for 0.1B weights, 2e-4 for billions; full tuning: 2e-4, 1e-5 to 5e-5"
    length: int = 512
    longest: int = 512
    """Tokens of an answer that the model writes."""
    rows: int = 2
    rows_why: str = "packed rows in one forward; lower it if memory runs out"
    epochs: int = 1
    batch_tokens: int = 4096
    checkpointing: bool | str = False
    nf4: bool = False


TEMPLATE = """\
# One run. Check it with `acclimate validate {path}`, start it with `acclimate train {path}`.
version: 1
name: my-run                     # the run folder is {{output_dir}}/{{name}}
output_dir: runs
seed: 0

model:
{model}
  dtype: auto                    # float32, bfloat16 (with float32 masters), or auto: what is faster here
{nf4}
lora:                            # delete this section for full tuning, and lower optimizer.learning_rate
  rank: 16
  alpha: 32

method: mol                      # CE on domain tokens, KL to the base on general tokens; see `acclimate methods`

sources:                         # half of all trained tokens are general, unless a share says otherwise
  domain:                        # file, folder, glob, URL or hub id of .txt, .md, .jsonl, .csv, ...: docs/howto/data.md
    path: {domain}
    heldout: auto                # documents kept for evaluation, enough to judge by; or a share, or a count
{general}
budget:
  count: domain                  # tokens below are trained tokens of this source (or: all)
  epochs: {epochs}                      # or tokens: 1000000, or steps: 500
{batch}

optimizer:
{rate}
schedule:
  type: cosine                   # linear, constant, wsd
  warmup_ratio: 0.05

data:
  sequence_length: {length}
training:
{rows}
{checkpointing}  eval_steps: auto               # measure held-out text so often that it takes 3 % of the run
  save_steps: 200
report_to: []                    # [wandb, mlflow, trackio, tensorboard]
"""
WRITTEN = """\
  general:                       # no text of your own to keep: the model writes it itself (docs/howto/replay.md)
    path: self
    replay:
      tokens: 50000
      max_new_tokens: {longest}
    heldout: auto
"""
GIVEN = """\
  general:                       # text on which the model should stay as it is; path: self has the model write it
    path: {path}
    heldout: auto
"""
NF4 = "  quantization: nf4              # the frozen base in 4 bits, since memory is short; extra `qlora`\n"
CHECKPOINTING = "  gradient_checkpointing: {how}   # activations are computed again, since memory is short\n"


def write_template(path: Path, domain: str, general: str, model: str, suited: Suited | None = None) -> None:
    """Writes the template, never over a file that exists.

    Args:
        general: a path, or ``self``.
        suited: values for this model and machine; default: of the default model, else the customary ones.
    """
    from acclimate.config.source_schema import SELF  # the schemas take longer to load than `--help` may

    check_new(path)
    suited = suited or Suited()
    source = WRITTEN.format(longest=suited.longest) if general == SELF else GIVEN.format(path=_scalar(general))
    text = TEMPLATE.format(
        path=path,
        model=_line("path", _scalar(model), suited.about),
        nf4=NF4 if suited.nf4 else "",
        domain=_scalar(domain),
        general=source,
        rate=_line("learning_rate", rate_of(suited), suited.rate_why),
        epochs=suited.epochs,
        batch=_line("batch_tokens", str(suited.batch_tokens), "per optimizer step"),
        length=suited.length,
        rows=_line("micro_batch_size", str(suited.rows), suited.rows_why),
        checkpointing=CHECKPOINTING.format(how=str(suited.checkpointing).lower()) if suited.checkpointing else "",
    )
    write_with_schema(path, text)


def _line(key: str, value: str, why: str) -> str:
    """A setting with its comment in the column of the others."""
    return f"{f'  {key}: {value}'.ljust(COLUMN)} # {why}"


def rate_of(suited: Suited) -> str:
    """As YAML reads a number.

    >>> rate_of(Suited(rate=2e-4)), rate_of(Suited(rate=0.001))
    ('2.0e-4', '1.0e-3')
    """
    mantissa, exponent = f"{suited.rate:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def check_new(path: Path) -> None:
    """
    Raises:
        UsageError: the file exists, or its folder does not.
    """
    if path.exists():
        raise UsageError(f"'{path}' exists and is left alone; give another path: acclimate init other.yaml")
    if not path.parent.is_dir():
        raise UsageError(f"The folder '{path.parent}' does not exist; make it, or give another path.")


def _scalar(value: str) -> str:
    """The value as YAML, quoted where it must be."""
    return yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()
