"""What the three tools mostly share: the settings of transformers and PEFT, by their names and aliases."""

from __future__ import annotations

import math
import os
import re
from typing import Any, get_args

from acclimate.config.elsewhere import INSTEAD
from acclimate.config.schema import ModelSection, RunConfig
from acclimate.verbs.importer.given import Given, name_of, whole

Settings = dict[str, Any]
SCHEDULES = {
    "linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant",
    "cosine_with_min_lr": "cosine", "warmup_stable_decay": "wsd",
}  # fmt: skip
ATTENTION = {
    "fa2": "flash_attention_2", "sdpa": "sdpa", "eager": "eager", "disabled": "eager", "flash_attention_2":
    "flash_attention_2", "flex_attention": "flex_attention", "auto": "auto",
}  # fmt: skip
OPTIMIZERS = {
    "adamw_8bit": "adamw_8bit", "adamw_bnb_8bit": "adamw_8bit", "adamw_torch_8bit": "adamw_8bit",
    "paged_adamw_8bit": "adamw_8bit", "lion": "lion", "lion_32bit": "lion", "lion_pytorch": "lion",
    "lion_8bit": "lion_8bit", "paged_lion_32bit": "lion", "paged_lion_8bit": "lion_8bit",
}  # fmt: skip
"""Those that mean the same here; adafactor and muon count their learning rate otherwise."""
MOMENTS = re.compile(r"adamw(_(torch|hf|apex)(_fused)?)?")


OF_ADAPTERS = (
    "lora_r", "lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target", "lora_target_linear",
    "use_rslora", "peft_use_rslora",
)  # fmt: skip


class Sections:
    """Builds the sections of a run, key by key, with the name that each value had."""

    def __init__(self, given: Given, processes: int) -> None:
        self.given, self.processes = given, processes
        self.settings: Settings = {"version": 1}
        self.reasons: dict[str, str] = {}

    def put(self, path: str, value: Any, why: str) -> None:
        """Sets a dotted path; what is None is left to its default."""
        if value is None:
            return
        *parents, leaf = path.split(".")
        target = self.settings
        for part in parents:
            target = target.setdefault(part, {})
        target[leaf] = value
        self.reasons[path] = why

    def run(self) -> None:
        """Name and folder of the run."""
        output, why = self.given.take("output_dir")
        folder = str(output or "runs/imported").rstrip("/")
        self.put("name", name_of(folder), why or "the run folder is output_dir/name")
        self.put("output_dir", os.path.dirname(folder) or ".", why)
        seed, why = self.given.take("seed")
        self.put("seed", seed, why)

    def model(self) -> None:
        given = self.given
        path, why = given.take("model_name_or_path", "base_model")
        self.put("model.path", path, why)
        self.put("model.revision", *self._unless("main", "model_revision", "revision_of_model"))
        self.put("model.trust_remote_code", *self._unless(False, "trust_remote_code"))
        half, why = given.take("bf16")
        dtype, dtype_why = given.take("dtype", "torch_dtype")
        if half is True or half == "auto":
            self.put("model.dtype", "bfloat16" if half is True else "auto", why)
        elif dtype in ("bfloat16", "float32", "auto"):
            self.put("model.dtype", dtype, dtype_why)
        elif dtype is not None:
            given.drop(dtype_why, INSTEAD["fp16"])
        self._attention()
        four = [name for name in ("load_in_4bit", "quantization_bit") if given.value(name) in (True, 4)]
        if four or given.value("adapter") == "qlora":
            self.put("model.quantization", "nf4", four[0] if four else "adapter: qlora")
        elif given.value("quantization_bit") not in (None, 4):
            given.drop("quantization_bit", INSTEAD["load_in_8bit"])

    def _attention(self) -> None:
        for name in ("attn_implementation", "flash_attn", "flash_attention", "sdp_attention"):
            value, why = self.given.take(name)
            if value in (None, False):
                continue
            kind = "sdpa" if name == "sdp_attention" else "flash_attention_2" if value is True else str(value)
            accepted = get_args(ModelSection.model_fields["attention"].annotation)
            if ATTENTION.get(kind) in accepted:
                self.put("model.attention", ATTENTION[kind], why)
            else:
                self.given.drop(name, f"{kind!r} is not here; model.attention: auto chooses the fastest exact one")

    def lora(self, wanted: bool, rank: int, alpha: float | None, targets: Any) -> None:
        """The adapter, with what that tool takes where its file says nothing."""
        given = self.given
        if not wanted:
            for name in OF_ADAPTERS:
                if given.data.get(name) is not None:
                    given.drop(name, f"without an adapter it has no effect in {given.tool}")
            return
        r, why = given.number("lora_r", "lora_rank")
        self.put("lora.rank", whole(r if r is not None else rank), why or f"{given.tool}'s default")
        a, why = given.number("lora_alpha")
        a = a if a is not None else (alpha if alpha is not None else 2 * (r if r is not None else rank))
        self.put("lora.alpha", whole(a), why or f"{given.tool}'s default")
        dropout, why = given.number("lora_dropout")
        self.put("lora.dropout", dropout or None, why)
        self.put("lora.rslora", *self._unless(False, "use_rslora", "peft_use_rslora"))
        linear = given.value("lora_target_linear")
        asked, why = given.take("lora_target_modules", "lora_target")
        asked = asked if asked is not None else targets
        if linear or asked in ("all", "all-linear", ["all-linear"]):
            self.put(
                "lora.target_modules",
                "all-linear",
                why or ("lora_target_linear" if linear else f"{given.tool}'s default"),
            )
        elif isinstance(asked, str) and re.fullmatch(
            r"[\w., ]+", asked
        ):  # names; a string is a regular expression here
            self.put("lora.target_modules", [name.strip() for name in asked.split(",")], why)
        elif asked is not None:
            self.put("lora.target_modules", asked, why)
        else:
            self.put("lora.target_modules", "all-linear", "not given; PEFT's own choice is mostly attention's q and v")

    def optimizer(self) -> None:
        given = self.given
        rate, why = given.number("learning_rate")
        self.put("optimizer.learning_rate", rate, why)
        decay, why = given.number("weight_decay")
        self.put("optimizer.weight_decay", decay or None, why)
        betas = [given.number(name)[0] for name in ("adam_beta1", "adam_beta2")]
        if any(beta is not None for beta in betas):
            first, second = betas
            pair = [first if first is not None else 0.9, second if second is not None else 0.999]
            self.put("optimizer.betas", pair, "adam_beta1, adam_beta2")
        eps, why = given.number("adam_epsilon")
        self.put("optimizer.eps", eps, why)
        norm, why = given.number("max_grad_norm")
        if norm is not None and norm <= 0:
            self.settings.setdefault("optimizer", {})["max_grad_norm"] = None
            self.reasons["optimizer.max_grad_norm"] = why
        else:
            self.put("optimizer.max_grad_norm", norm, why)
        name, why = given.take("optim", "optimizer")
        if name is not None and (known := OPTIMIZERS.get(str(name))) is not None:
            self.put("optimizer.name", known, why)
        elif name is not None and not MOMENTS.fullmatch(str(name)):
            rate_too = "" if "adam" in str(name) else "; look for another learning rate"
            given.drop(why, f"the optimizer is AdamW with moments in float32{rate_too}")

    def schedule(self) -> None:
        given = self.given
        kind, why = given.take("lr_scheduler_type", "lr_scheduler")
        known = SCHEDULES.get(str(kind))
        if kind is not None and known is None:
            given.drop(why, f"{kind!r} is not here; cosine is taken (accepted: cosine, linear, constant, wsd)")
        self.put("schedule.type", known or "cosine", why if known else f"in place of {kind}")
        ratio, ratio_why = given.number("warmup_ratio")
        steps, steps_why = given.number("warmup_steps")
        if steps is not None and 0 < steps < 1:  # transformers 5 reads it as a ratio
            ratio, ratio_why, steps = steps, steps_why, None
        if kind == "constant":
            self.put("schedule.warmup_ratio", 0, "constant has no warmup in transformers")
        elif steps:
            self.put("schedule.warmup_steps", int(steps), steps_why)
        else:
            self.put("schedule.warmup_ratio", ratio or 0, ratio_why or f"{given.tool}'s default")
        more, more_why = given.take("lr_scheduler_kwargs")
        least, why = given.number("cosine_min_lr_ratio")
        if isinstance(more, dict) and (found := more.get("min_lr_rate")) is not None:
            least, why = float(found), "lr_scheduler_kwargs.min_lr_rate"
        elif isinstance(more, dict) and (found := more.get("min_lr")) is not None and given.number("learning_rate")[0]:
            least, why = float(found) / float(given.number("learning_rate")[0] or 1), "min_lr / learning_rate"
        if more and (not isinstance(more, dict) or more.keys() - {"min_lr", "min_lr_rate"}):
            given.drop(more_why, "of these only min_lr and min_lr_rate are known here")
        if known in ("cosine", "linear", "wsd"):
            self.put("schedule.min_ratio", least or None, why)

    def budget(self, streamed: bool) -> None:
        """How long, and how many tokens a step: rows x accumulation x processes x positions of a row."""
        given = self.given
        steps, why = given.number("max_steps")
        epochs, epochs_why = given.number("num_train_epochs", "num_epochs")
        count, counted = next(iter(self.settings["sources"].items()))
        self.put("budget.count", count, "tokens of this source are counted")
        if steps is not None and steps > 0:
            self.put("budget.steps", int(steps), why)
        elif not streamed:
            self.put("budget.epochs", whole(epochs if epochs is not None else 1), epochs_why or "not given")
        length, length_why = given.number("max_length", "max_seq_length", "sequence_len", "cutoff_len")
        self.put("data.sequence_length", int(length or 1024), length_why)
        rows, rows_why = given.number("per_device_train_batch_size", "micro_batch_size")
        parts, _ = given.number("gradient_accumulation_steps")
        self.put("training.micro_batch_size", int(rows or 1), rows_why)
        factors = (int(rows or 1), int(parts or 1), self.processes, int(length or 1024))
        part = min(1.0, 2 * counted["share"])  # of the domain's half
        said = f"{factors[0]} rows x {factors[1]} x {factors[2]} processes x {factors[3]} positions"
        said += f" x {part:.3g} of the domain" if part < 1 else ""
        told = "the most that a step could learn there; padding and prompts made it less"
        self.put("budget.batch_tokens", max(1, round(math.prod(factors) * part)), f"{said}: {told}")

    def training(self) -> None:
        given = self.given
        checkpointing, why = given.take("gradient_checkpointing")
        self.put("training.gradient_checkpointing", True if checkpointing else None, why)
        for name in ("save", "eval"):
            number, why = given.number(f"{name}_steps")
            strategy = given.value(f"{name}_strategy")
            if strategy not in (None, "steps"):
                if strategy != "no":
                    given.drop(f"{name}_strategy", f"training.{name}_steps is a number of steps")
            elif number is not None and number >= 1:
                self.put(f"training.{name}_steps", int(number), why)
            elif number:
                given.drop(f"{name}_steps", f"a part of all steps; training.{name}_steps is a number of steps")
        kept, why = given.number("save_total_limit")
        if kept and "save_steps" in self.settings.get("training", {}):
            self.put("training.keep_last", int(kept), why)
        if given.value("fsdp", "fsdp_config", "fsdp_version"):
            if self.settings["model"].get("quantization"):
                given.drop("fsdp", "quantised weights are not spread; every process holds them")
            else:
                self.put("parallel.strategy", "fsdp", "fsdp")
        trackers, why = given.take("report_to")
        asked = [trackers] if isinstance(trackers, str) else list(trackers or ())
        asked += ["wandb"] if given.value("use_wandb", "wandb_project") else []
        accepted = re.findall(r"'(\w+)'", str(RunConfig.model_fields["report_to"].annotation))
        self.put("report_to", [name for name in dict.fromkeys(asked) if name in accepted] or None, why)
        for name in asked:
            if name not in accepted and name not in ("none", "all"):
                given.drop("report_to", f"{name!r} is not here; accepted: {', '.join(accepted)}")

    def learned(self) -> None:
        """What of a pair is learned."""
        for name, all_of_it in (("train_on_inputs", True), ("train_on_prompt", True), ("completion_only_loss", False)):
            if self.given.data.get(name) is all_of_it:
                self.given.drop(name, INSTEAD[name])

    def _unless(self, value: Any, *names: str) -> tuple[Any, str]:
        found, why = self.given.take(*names)
        return (None if found == value else found), why
