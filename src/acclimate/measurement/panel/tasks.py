"""Tasks of lm-eval: its prompts, filters and metrics, over answers of a model and its base that are found here.

Imported only where a panel names a task, for lm-eval is an optional extra.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import groupby
from typing import Any

from lm_eval import evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from acclimate.config.explain import shown
from acclimate.measurement.generate import continuation
from acclimate.measurement.panel.encode import Encoded, beginning, chat_text, check_pairs, encode_pairs
from acclimate.measurement.panel.records import SIDES
from acclimate.measurement.panel.schema import PanelConfig, SetSection
from acclimate.measurement.panel.score import score_choices
from acclimate.model.causal import CausalModel
from acclimate.model.reference import Reference
from acclimate.paired.metrics import known
from acclimate.types.errors import AcclimateError, ConfigError, DataError, is_out_of_memory, listed, nearest, reason

ASKED = ("multiple_choice", "loglikelihood", "generate_until")
NAMES = {"acc": "accuracy", "acc_norm": "accuracy_norm"}
"""What lm-eval's metrics are called here, where items are right or wrong."""
FEW_SHOT_SEED = 1234  # lm-eval's own
LONGEST_ANSWER = 256  # tokens, where a task sets no limit; lm-eval's own


@dataclass(frozen=True)
class Measured:
    """A task's items as lines of SET.jsonl, the metrics that each has, and what was asked, as plain data."""

    lines: list[dict[str, Any]]
    metrics: list[str]
    about: dict[str, Any]


def load_task(name: str, section: SetSection) -> Any:
    """
    Raises:
        ConfigError: there is no such task, it is a group, or of a kind that is not asked here.
        DataError: its documents cannot be had.
    """
    place, manager = f"sets.{name}.task", _manager(section.include_path)
    if section.task not in manager.all_subtasks:
        if section.task in manager.all_tasks:
            raise ConfigError(f"{place}: '{section.task}' is a group of tasks; name one of them for each set.")
        where = f"in '{section.include_path}'" if section.include_path else "of lm-eval"
        near = nearest(str(section.task), manager.all_subtasks)
        raise ConfigError(f"{place}: there is no task '{section.task}' {where}.{near}")
    try:
        task = manager.load([section.task])["tasks"][section.task]
    except Exception as error:  # a task may bring code of its own, and its data set may be anywhere
        told = f"{type(error).__name__}: {reason(error).rstrip('.')}"
        raise DataError(
            f"{place}: the task '{section.task}' cannot be loaded ({told}); without a network only tasks over "
            "local files can, see include_path."
        ) from None
    if task.OUTPUT_TYPE not in ASKED:
        raise ConfigError(
            f"{place}: '{section.task}' asks for {task.OUTPUT_TYPE}; accepted: {listed(ASKED)}. Texts have kind: text."
        )
    own = task.get_config("num_fewshot") or 0
    task.set_config(key="num_fewshot", value=own if section.num_fewshot is None else section.num_fewshot)
    if section.fewshot_as_multiturn is not None and not task.get_config("num_fewshot"):
        raise ConfigError(
            f"sets.{name}.fewshot_as_multiturn: has no effect without examples; set num_fewshot, or leave it out."
        )
    task.set_fewshot_seed(seed=FEW_SHOT_SEED)
    return task


@cache
def _manager(folder: str | None) -> TaskManager:
    """Of the tasks in a folder, or of lm-eval's thousands, which take some seconds to list."""
    return TaskManager(include_path=folder, include_defaults=folder is None)


def measure_task(
    model: CausalModel, base: Reference, name: str, section: SetSection, task: Any, panel: PanelConfig
) -> Measured:
    """Puts a task to both models; lm-eval's caches are never used.

    Raises:
        ConfigError: no metric of the task is a mean over items, so nothing of it can be paired.
    """
    means = [metric for metric, fold in task.aggregation().items() if fold.__name__ == "mean"]
    if not means:
        raise ConfigError(
            f"sets.{name}.task: no metric of '{section.task}' is a mean over items, so none can be paired."
        )
    count = len(task.eval_docs)
    chosen = None
    if section.max_items is not None and section.max_items < count:
        chosen = {section.task: sorted(random.Random(panel.seed).sample(range(count), section.max_items))}
    answered: Answered = {}
    sides = []
    for side in range(len(SIDES)):
        try:
            found = evaluate(
                _Asked(model, base, side, name, panel, answered),
                task_dict={"tasks": {section.task: task}},
                samples=chosen,
                bootstrap_iters=0,
                apply_chat_template=panel.template == "chat",
                fewshot_as_multiturn=several_turns(section, panel),
            )
        except Exception as error:  # of the task's own code, templates and documents
            if isinstance(error, AcclimateError) or is_out_of_memory(error):
                raise
            raise ConfigError(
                f"sets.{name}.task: lm-eval cannot ask '{section.task}': {type(error).__name__}: "
                f"{reason(error).rstrip('.')}."
            ) from error
        sides.append(found["samples"][section.task])
    lines, metrics = _lines(str(section.task), sides, means, answered)
    about = {"task": section.task, "version": found["versions"][section.task], "lm_eval": version("lm_eval")}
    config = found["configs"][section.task]
    scored = [config.get(key) for key in ("metric_list", "filter_list", "repeats")]
    if panel.template == "chat" and config["num_fewshot"]:
        about["fewshot_as_multiturn"] = several_turns(section, panel)
    about |= {"num_fewshot": config["num_fewshot"], "scored": _digest(json.dumps(scored, default=_name))}
    return Measured(lines, metrics, about)


def several_turns(section: SetSection, panel: PanelConfig) -> bool:
    """Whether each example is a question of the user and an answer of the assistant, lm-eval's own default [from
    code: 0.4.13], or all stand in one turn of the user."""
    return panel.template == "chat" and section.fewshot_as_multiturn is not False


Answered = dict[tuple[str, str], tuple[list[Any], bool]]
"""A request's texts -> the answers of model and base, and whether the context lost its beginning."""


def _key(arguments: Sequence[Any]) -> tuple[str, str]:
    """Context and continuation, or a context to be continued as the task's options say."""
    context, rest = arguments
    return context, rest if isinstance(rest, str) else json.dumps(rest, default=str)


class _Asked(LM):  # type: ignore[misc]
    """One of the two models as lm-eval asks it; the answers of both are found when either is asked first."""

    def __init__(
        self, model: CausalModel, base: Reference, side: int, name: str, panel: PanelConfig, answered: Answered
    ) -> None:
        super().__init__()
        self.model, self.base, self.side, self.name = model, base, side, name
        self.panel, self.answered = panel, answered

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        pairs = [_key(request.args) for request in requests]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.answered]
        groups = [(context, [text for _, text in group]) for context, group in groupby(new, key=lambda pair: pair[0])]
        plain = self.panel.template != "chat"
        begin = beginning(self.model.tokenizer) if plain else []
        check_pairs([f"sets.{self.name}"] * len(groups), groups, self.model.tokenizer, self.base.tokenizer, plain)
        encoded = encode_pairs(groups, self.base.tokenizer, begin)
        for (context, texts), (_, choices) in zip(groups, encoded, strict=True):
            if [] in choices:
                raise DataError(
                    f"sets.{self.name}.task: {shown(texts[choices.index([])])} has no token of its own after "
                    f"{shown(context)}, so it has no likelihood."
                )
        if new:
            scores = score_choices(self.model, self.base, [Encoded(*pair, 0, self.name) for pair in encoded])
            for column, pair in enumerate(new):
                both = [(float(scores.nats[row, column]), bool(scores.greedy[row, column])) for row in range(2)]
                self.answered[pair] = both, bool(scores.truncated[column])
        return [self.answered[pair][0][self.side] for pair in pairs]

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        for request in requests:
            if _key(request.args) not in self.answered:
                self.answered[_key(request.args)] = self._generated(*request.args)
        return [self.answered[_key(request.args)][0][self.side] for request in requests]

    def _generated(self, context: str, options: dict[str, Any]) -> tuple[list[str], bool]:
        if options.get("do_sample") or options.get("temperature"):
            raise ConfigError(f"sets.{self.name}.task: draws its answers at random; only greedy ones are compared.")
        until = [options["until"]] if isinstance(options.get("until"), str) else list(options.get("until") or ())
        until = [end for end in until if end]
        longest = int(options.get("max_gen_toks") or LONGEST_ANSWER)
        prompt = self.model.tokenizer(context, add_special_tokens=self.panel.template != "chat")["input_ids"]
        plain = self.panel.template != "chat"
        check_pairs([f"sets.{self.name}"], [(context, ())], self.model.tokenizer, self.base.tokenizer, plain)
        kept = prompt[-max(1, self.model.positions - longest) :]
        texts = [continuation(self.model, self.model.tokenizer, kept, longest, until=until)]
        with self.base.generator() as base:
            texts.append(continuation(base, self.base.tokenizer, kept, longest, until=until))
        for end in until:
            texts = [text.split(end)[0] for text in texts]
        return texts, len(kept) < len(prompt)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        raise AssertionError("such tasks are refused when they are loaded")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        text = chat_text(chat_history, self.model.tokenizer, self.panel, add_generation_prompt)
        if text is None:
            raise DataError(f"sets.{self.name}.task: the model's chat template refuses a conversation of the task.")
        return text

    @property
    def tokenizer_name(self) -> str:
        return "model"  # names a cache that is never used


def _lines(
    task: str, sides: Sequence[Sequence[dict[str, Any]]], means: Sequence[str], answered: Answered
) -> tuple[list[dict[str, Any]], list[str]]:
    """Samples of both models as lines by document; a metric of several filters is named with its filter."""
    filters = list(dict.fromkeys(sample["filter"] for sample in sides[0]))
    rows: dict[int, dict[str, Any]] = {}
    metrics: dict[str, None] = {}
    for pair in zip(*sides, strict=True):
        first = pair[0]
        row = rows.setdefault(first["doc_id"], {"where": f"{task}:{first['doc_id']}"})
        row["item"] = _digest(json.dumps([first["arguments"], str(first["target"])], default=str))
        row["truncated"] = any(answered[_key(arguments)][1] for arguments in first["arguments"])
        if isinstance(first["target"], int):
            row["right"] = first["target"]
        for side, sample in zip(SIDES, pair, strict=True):
            row[side] = [
                response[0][0] if isinstance(response[0], tuple) else response[0] for response in sample["resps"]
            ]
            for metric in means:
                if metric in sample:
                    own = NAMES.get(metric, metric) if len(filters) == 1 else f"{metric}[{sample['filter']}]"
                    row[f"{side}_{known(own).key or own}"] = float(sample[metric])
                    metrics[own] = None
    return list(rows.values()), list(metrics)


def _name(function: Any) -> str:
    """Of a metric or filter that is a task's own code; where it lies in memory says nothing."""
    return str(getattr(function, "__name__", type(function).__name__))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
