"""What a run takes of a memory at its peak: sizes, one dry run, and the part of a step that takes most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from acclimate.build.models import checkpointing
from acclimate.build.optimizer import OPTIMIZERS, parameter_groups, state_bytes, step_bytes
from acclimate.config.load import RunConfig
from acclimate.kernels.chunk_size import CE_COPIES, CPU_TOKENS, KL_COPIES, fitting
from acclimate.kernels.head import head_of
from acclimate.kernels.quantised import BYTES
from acclimate.kernels.recompute import recompute
from acclimate.model.causal import layers_of
from acclimate.model.load import DTYPES
from acclimate.model.lora.coverage import expert_weights
from acclimate.types.central import RoutedTerm
from acclimate.verbs.footprint.dry import ACTIVATIONS, GRADIENTS, MASKS, TEMPORARIES, Dry, Shape, dry_run
from acclimate.verbs.footprint.head import HeadBytes, HeadSizes, head_bytes
from acclimate.verbs.memory import GIB, PROCESS_BYTES, activation_bytes, width_of

PARTS = (
    "weights", "reference", "masters", "optimizer", GRADIENTS, ACTIVATIONS, MASKS, "head", TEMPORARIES, "others",
    "process",
)  # fmt: skip
"""What the bytes of a run are for, in the order in which they are told."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of a run, in the part of a step in which it takes most."""

    parts: Mapping[str, float]
    """By :data:`PARTS`."""
    at: str
    """forward, head, backward or update: the part of a step."""
    layers: int
    counted: bool
    """Whether activations are counted of this network; else they are those of a plain transformer, by a formula."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def sentence(self) -> str:
        """What the memory is for, largest first."""
        sizes = sorted(((size, part) for part, size in self.parts.items() if size >= GIB / 100), reverse=True)
        told = [f"{part} {size / GIB:.2f}{self._a_layer(part, size)}" for size, part in sizes]
        guess = "" if self.counted else "; activations by a formula, since this network cannot be run without weights"
        return f"memory by part, in GiB, {WHEN[self.at]}: {' · '.join(told)}{guess}"

    def _a_layer(self, part: str, size: float) -> str:
        return f" ({self.layers} layers, {size / self.layers / 2**20:,.0f} MiB each)" if part == ACTIVATIONS else ""


WHEN = {
    "forward": "in the forward",
    "head": "in the loss",
    "backward": "in the backward",
    "update": "in the optimizer's step",
}


@dataclass(frozen=True)
class Work:
    """What a run does, beside its configuration, that memory depends on."""

    terms: Sequence[RoutedTerm] = ()
    copies: int = 0
    """Frozen networks beside the one that is trained."""
    accumulated: bool = True
    """Whether a step has several micro-batches."""
    computed: float = 1.0
    """Positions that are computed, over those of packed rows."""
    alone: bool = False
    """Whether each document has a row of its own."""
    ranks: int = 1
    """Over which weights and states are spread."""
    beside: float = 0.0
    """Bytes that nothing here knows of."""


def estimate(config: RunConfig, network: Any, work: Work, cpu: bool) -> Estimate:
    """Bytes of a run at its peak, by what they are for.

    Weights, masters, states and gradients follow from sizes. What layers keep and take is counted by running them on
    the meta device at the run's own shapes, with the run's own checkpointing; what the head takes, by its code.

    Args:
        network: on the meta device, with its adapter, its frozen parameters without gradient; comes back in the run's
            dtype.
        cpu: whether it is trained on a CPU.
    """
    network.to(DTYPES[config.model.dtype])
    sizes = _Sizes.of(network)
    width = width_of(config)
    standing = _standing(config, network, sizes, work)
    rows, length = config.training.micro_batch_size, config.data.sequence_length
    head = head_bytes(
        HeadSizes(
            rows * length, sizes.vocabulary, sizes.hidden, width, sizes.head_trained, work.copies,
            _chunk(config, sizes.vocabulary, work.terms, cpu), cpu,
        ),
        work.terms,
    )  # fmt: skip
    dry, counted = _dry(config, network, work, cpu), True
    if dry is None:
        dry, counted = _by_formula(config, network, sizes, work.accumulated), False
    moments = _moments(config, sizes, dry, head, work)
    at = max(moments, key=lambda one: sum(moments[one].values()))
    found = Counter(standing)
    found.update(moments[at])
    return Estimate({part: float(found[part]) for part in PARTS if found[part] > 0}, at, sizes.layers, counted)


@dataclass(frozen=True)
class _Sizes:
    """Of a network."""

    learned: Mapping[str, Tensor]
    vocabulary: int
    hidden: int
    head_trained: bool
    layers: int
    bytes: int
    """Of parameters and buffers."""
    root: int
    """Those of them outside of the layers."""

    @classmethod
    def of(cls, network: Any) -> _Sizes:
        head, layers = head_of(network), layers_of(network)
        tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        inside = {id(tensor) for tensor in (*layers.parameters(), *layers.buffers())}
        size = {key: tensor.numel() * tensor.element_size() for key, tensor in tensors.items()}
        learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
        vocabulary, hidden = head.weight.shape
        return cls(
            learned, vocabulary, hidden, head.weight.requires_grad, len(layers), sum(size.values()),
            sum(one for key, one in size.items() if key not in inside),
        )  # fmt: skip

    @property
    def trained(self) -> int:
        return sum(tensor.numel() for tensor in self.learned.values())


def _standing(config: RunConfig, network: Any, sizes: _Sizes, work: Work) -> dict[str, float]:
    """What is there in all parts of a step."""
    kind, short = OPTIMIZERS[config.optimizer.name], width_of(config) == 2
    weights = reference = sizes.bytes - _saved_by_quantising(config, network)
    masters = 4 * sizes.trained if short and kind.masters else 0
    spread, parts = work.ranks, {}
    if spread > 1:  # a rank's part, the root group whole, and the two layers that are gathered at one time
        gathered = sizes.root + 2 * (sizes.bytes - sizes.root) / sizes.layers
        own = width_of(config) * sizes.trained if masters else 0  # a float32 shard is its own master
        weights, reference = (weights - own) / spread + gathered, reference / spread + gathered
    parts["weights"], parts["reference"] = weights, reference * work.copies
    groups = parameter_groups(config.optimizer, sizes.learned, network)
    parts["masters"] = masters / spread
    parts["optimizer"] = state_bytes(config.optimizer, sizes.learned, groups) / spread
    parts[GRADIENTS] = masters / spread  # room for the sum over micro-batches, kept from the first step on
    parts["others"], parts["process"] = work.beside, PROCESS_BYTES
    return parts


def _saved_by_quantising(config: RunConfig, network: Any) -> float:
    if config.model.quantization is None:
        return 0.0
    layers = {module for module in network.modules() if isinstance(module, nn.Linear)}
    layers -= {network.get_output_embeddings()}
    return (width_of(config) - BYTES) * sum(m.weight.numel() for m in layers if not m.weight.requires_grad)


def _dry(config: RunConfig, network: Any, work: Work, cpu: bool) -> Dry | None:
    name = config.model.attention
    eager, dense = (
        name == "eager",
        name == "sdpa" or (name == "auto" and width_of(config) == 4),
    )  # else varlen, on a GPU
    shape = Shape(
        config.training.micro_batch_size, config.data.sequence_length, "eager" if eager else "sdpa", cpu,
        masked=eager or (not cpu and dense and not work.alone),
    )  # fmt: skip
    if (how := checkpointing(config)) is not None:
        recompute(network, how)
    try:
        found = dry_run(network, shape, work.accumulated and _own_masters(config))
    finally:
        if how is not None:
            recompute(network, None)
    return found if found is None or work.computed == 1 else _scaled(found, work.computed)


def _chunk(config: RunConfig, vocabulary: int, terms: Sequence[RoutedTerm], cpu: bool) -> int:
    """Tokens of a chunk; where a GPU's free memory will say, what they are with 16 GiB free."""
    asked = config.objective.chunk_tokens
    if asked != "auto":
        return asked
    compared = any(routed.reference is not None for routed in terms)
    return CPU_TOKENS if cpu else fitting(16 * GIB, vocabulary, compared, KL_COPIES if compared else CE_COPIES)


def _own_masters(config: RunConfig) -> bool:
    """Whether gradients of several micro-batches add up in the parameters themselves."""
    return width_of(config) == 4 or not OPTIMIZERS[config.optimizer.name].masters


def _scaled(dry: Dry, computed: float) -> Dry:
    def scaled(bytes: Counter[str]) -> Counter[str]:
        return Counter({k: size if k == GRADIENTS else round(size * computed) for k, size in bytes.items()})

    return Dry(scaled(dry.kept), scaled(dry.forward), scaled(dry.backward))


def _by_formula(config: RunConfig, network: Any, sizes: _Sizes, accumulated: bool) -> Dry:
    """Of a network that cannot be run without weights."""
    rows = config.training.micro_batch_size * config.data.sequence_length
    kept = activation_bytes(config, rows, sizes.hidden, sizes.layers) + expert_copies(config, network)
    gradients = round(width_of(config) * sizes.trained)
    before = gradients if accumulated and _own_masters(config) else 0
    forward = Counter({ACTIVATIONS: round(kept), GRADIENTS: before})
    return Dry(forward, forward, Counter({ACTIVATIONS: round(kept), GRADIENTS: gradients}))


def expert_copies(config: RunConfig, network: Any, asked: bool = False) -> float:
    """Bytes of experts with an adapter, a second time: PEFT adds it to the whole stack in each forward, and the sum
    stays until the backward; under gradient checkpointing that of a layer at a time [from code].

    Args:
        asked: as if all experts had one.
    """
    width, stacks = width_of(config), expert_weights(network, asked)
    if checkpointing(config) is not None:
        return float(width * max(stacks, default=0) * 2)
    return float(width * sum(stacks))


def _moments(config: RunConfig, sizes: _Sizes, dry: Dry, head: HeadBytes, work: Work) -> dict[str, Counter[str]]:
    """What each part of a step has beside what is always there."""
    width = width_of(config)
    states = config.training.micro_batch_size * config.data.sequence_length * sizes.hidden * width
    compared = states * len({routed.reference for routed in work.terms} - {None})
    gradients = width * sizes.trained
    backward = Counter(dry.backward)
    if sizes.head_trained and not (work.accumulated and _own_masters(config)):
        backward[GRADIENTS] += sizes.vocabulary * sizes.hidden * width  # the head's, handed over as the backward begins
    update = Counter({GRADIENTS: gradients / work.ranks if _own_masters(config) else 0})
    shapes: Iterator[Tensor] = iter(sizes.learned.values())
    update[TEMPORARIES] = round(step_bytes(config.optimizer, shapes) / work.ranks)
    return {  # a reference's forward keeps nothing, and takes less than the student's
        "forward": dry.forward + Counter({"head": compared}),
        "head": dry.kept + Counter({"head": compared + head.chunk}),
        "backward": backward + Counter({"head": compared + head.step}),
        "update": update,
    }
