"""The schema of online weights in `mixture`: rules that move shares by what a run measures of its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from acclimate.config.source_schema import Section

if TYPE_CHECKING:
    from acclimate.config.schema import RunConfig

ONLINE = ("doremi", "doge", "odm", "dids")
"""Keys of `mixture` whose rules move shares by what is measured of the sources."""
CONTROL = (
    "No online method beats stratified sampling consistently (Aioli, arXiv 2411.05735) [second-hand]; run equal shares "
    "beside it, with the same tokens and seeds."
)
"""Said wherever one is used, and beside its result."""
BASE = "base"
"""DoReMi's reference where none is named."""


class OnlineSection(Section):
    """What the rules share: they begin with the shares of the sources, and move them."""

    route: str | None = Field(
        None,
        description="move only the shares of sources of this route, which together keep theirs; default: of all "
        "sources that are trained on",
    )


class DoReMiSection(OnlineSection):
    """More for sources on which the model loses most against a reference."""

    eta: float = Field(1.0, gt=0, le=1000, description="rate of the ascent")
    smoothing: float = Field(1e-4, ge=0, lt=1, description="c: part of every share that is uniform")
    reference: str = Field(
        BASE,
        min_length=1,
        description="base: excess is what the run has lost against its base; or the path of a model, or of a run, "
        "that was trained on these sources: excess is what is still to be learned, as the authors have it",
    )


class DoGESection(OnlineSection):
    """More for sources whose gradient points where that of held-out text does."""

    mu: float = Field(0.01, gt=0, le=1000, description="the smaller, the faster shares move")
    every: int = Field(10, ge=1, description="steps between two measurements, each a backward of the step by source")
    keep: float = Field(
        0.5,
        ge=0,
        le=1,
        description="lambda: part of the target that is validation text of role general or chat; the rest is the "
        "domain's",
    )


class ODMSection(OnlineSection):
    """More for sources of large loss, as a bandit has it; noise is such a source."""

    form: Literal["smoothed", "exp3"] = Field(
        "smoothed", description="smoothed: shares by a running mean of e^loss; exp3: by importance-weighted sums"
    )
    kept: float | None = Field(None, ge=0, lt=1, description="of smoothed: part of the mean that stays; default: 0.9")
    warmup: float = Field(0.02, ge=0, lt=1, description="part of the run in which shares stay as they are given")

    @model_validator(mode="after")
    def _kept_of_smoothed(self) -> ODMSection:
        if self.kept is not None and self.form != "smoothed":
            raise ValueError(
                f"kept {self.kept:g} has no effect with form: {self.form}, which forgets nothing; leave it out"
            )
        return self


class DIDSSection(OnlineSection):
    """More for sources whose gradient is near to that of held-out sets which improve."""

    beta: float = Field(0.2, ge=0, lt=1, description="part of the old shares that stays at each update")
    every: int = Field(
        10, ge=1, description="steps between two measurements, each a backward of the step by source and of the sets"
    )
    part: float = Field(
        0.1, gt=0, le=1, description="of the trained tensors, the last ones, whose gradients are compared and kept"
    )
    influence: Literal["difference", "product"] = Field(
        "difference",
        description="what is small where a source is near to a set: the squared difference of gradients; or their "
        "product, as the released code has it, with which sources that agree least get most",
    )
    documents: int | None = Field(
        None,
        ge=1,
        description="validation documents of each source that are read at each measurement; default: all of "
        "evaluation.validation_documents",
    )


def check_online(config: RunConfig, where: str, section: OnlineSection) -> None:
    """That a rule can read what it goes by.

    Args:
        where: dotted path of the section.

    Raises:
        ValueError: a setting that contradicts it, by its dotted path.
    """
    if isinstance(section, DoGESection | DIDSSection):
        known = config.evaluation.validation_documents
        if not known:
            raise ValueError(
                f"{where}: its target is held-out text that no report uses; set evaluation.validation_documents (32 "
                "tell enough)"
            )
        if config.parallel.strategy == "fsdp":
            raise ValueError(
                f"{where}: needs whole gradients of the sources, and parallel.strategy: fsdp spreads them over ranks; "
                "accepted: ddp, or doremi or odm in its place"
            )
        if isinstance(section, DIDSSection) and section.documents is not None and section.documents > known:
            raise ValueError(
                f"{where}.documents: {section.documents} are more than evaluation.validation_documents: {known} keeps "
                f"for choices; accepted: {known} or less, or raise that"
            )
