"""The methods of a configuration, composed: what is learned, known before any text is read, and then one plan."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from acclimate.build.online.watched import REFERENCE, watched
from acclimate.config.chosen.online import BASE
from acclimate.config.chosen.search import AUTO
from acclimate.config.explain import explain
from acclimate.config.load import RunConfig, Spec, specs, with_absolute_paths, with_specs
from acclimate.config.source_schema import SourceSection
from acclimate.methods.registry import METHODS, TERMS
from acclimate.stores.store import Store, open_store, required_statistics
from acclimate.types.central import METHOD_ROUTES, RoutedTerm
from acclimate.types.dials import Dial
from acclimate.types.errors import ConfigError, listed, nearest
from acclimate.types.plan import Method, Plan, PlanContext
from acclimate.types.token_weighting import TokenSelection


@dataclass(frozen=True)
class Composition:
    """The methods of a run together: what is learned from which route, and what they read."""

    methods: Mapping[str, Method]
    terms: tuple[RoutedTerm, ...]
    references: Mapping[str, str]
    """Name -> path of the frozen models besides ``base``."""
    statistics: tuple[Store, ...] = ()
    """Not yet held against the base and the weights."""
    strength: Dial | None = None
    """Of what holds the model, where a forgetting budget moves it."""

    @property
    def name(self) -> str:
        return "+".join(self.methods)

    @property
    def selection(self) -> TokenSelection | None:
        """What chooses the labels that are learned."""
        return next((routed.selection for routed in self.terms if routed.selection is not None), None)

    @property
    def required_references(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.reference for r in self.terms if r.reference is not None))


def method_names(config: RunConfig) -> list[str]:
    """The names in ``method``, in order: ``["mol", "l2"]``."""
    return [spec if isinstance(spec, str) else str(spec.get("name")) for spec in specs(config)]


def build_methods(config: RunConfig) -> list[Method]:
    """The method objects with their settings.

    Raises:
        ConfigError: unknown method or setting, with the nearest spelling.
    """
    if not specs(config):
        raise ConfigError(f"method: is an empty list; accepted: one or more of {listed(METHODS)}.")
    names = method_names(config)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"method: '{twice}' is listed twice; keep one.")
    methods = []
    for index, spec in enumerate(specs(config)):
        where = f"method.{index}" if isinstance(config.method, list) else "method"
        settings: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: needs a name; accepted: {listed(METHODS)}.")
        if name == AUTO:
            raise ConfigError(
                f"{where}: auto is no method of its own: `acclimate train` chooses one for it, and "
                "`acclimate train CONFIG --freeze FILE` writes the configuration that it chose; give that one here."
            )
        if name not in METHODS:
            raise ConfigError(
                f"{where}: there is no method '{name}'; accepted: {listed(METHODS)}.{nearest(str(name), METHODS)}"
            )
        try:
            methods.append(TypeAdapter(METHODS[name]).validate_python(settings, context=config))
        except ValidationError as error:
            raise ConfigError(explain(error, METHODS[name], config.places, where)) from None
    return methods


def compose(config: RunConfig) -> Composition:
    """The methods with the sources' own terms in place: all that can be known of them without model and text.

    Raises:
        ConfigError: unknown method or setting; methods that do not compose; a route that nothing learns from; no such
            statistics store.
        DamagedError: a store is.
    """
    methods = dict(zip(method_names(config), build_methods(config), strict=True))
    name = "+".join(methods)
    weighting = _one_of(methods, "weighting", "weigh the tokens of the cross-entropy")
    selection = _one_of(methods, "selection", "choose the labels of the cross-entropy")
    terms = [
        replace(routed, weighting=weighting, selection=selection) if routed.name == "cross_entropy" else routed
        for routed in _terms(methods)
    ]
    _check_routes(config, terms, name)
    terms = _with_source_terms(config.sources, terms)
    for slot, what in (("weighting", "weighs the tokens"), ("selection", "chooses the labels")):
        wanted = weighting if slot == "weighting" else selection
        if wanted is not None and all(getattr(routed, slot) is None for routed in terms):
            raise ConfigError(
                f"method: '{name}' {what} of the cross-entropy, but there is none: the other methods have "
                "no such term, or all their sources bring terms of their own."
            )
    strength = _strength(config, methods, terms)
    terms += watched(config.mixture, terms)
    references = {key: path for method in methods.values() for key, path in method.references.items()}
    doremi = config.mixture.doremi if config.mixture is not None else None
    if doremi is not None and doremi.reference != BASE:
        references[REFERENCE] = doremi.reference
    return Composition(
        methods=methods,
        terms=tuple(replace(routed, strength=strength) if routed.anchors else routed for routed in terms),
        strength=strength,
        references=references,
        statistics=tuple(
            open_store(getattr(method, field), kind)
            for method in methods.values()
            for field, kind in required_statistics(type(method)).items()
        ),
    )


def build_plan(composition: Composition, context: PlanContext) -> Plan:
    """What all methods add to the run: each is asked once.

    Raises:
        ConfigError: two want the one slot that does not add up.
    """
    plans = {name: method.plan(context) for name, method in composition.methods.items()}
    return Plan(
        transforms=tuple(transform for plan in plans.values() for transform in plan.transforms),
        update_scale=_one_of(plans, "update_scale", "scale the update"),
        controllers=tuple(controller for plan in plans.values() for controller in plan.controllers),
        moves_shares=any(plan.moves_shares for plan in plans.values()),
        callbacks=tuple(callback for plan in plans.values() for callback in plan.callbacks),
        start=_one_of(plans, "start", "start from weights of their own"),
        after=_one_of(plans, "after", "settle the weights after training"),
        batches=_one_of(plans, "batches", "change the steps' rows"),
        takes=_one_of(plans, "takes", "take gradients from the optimizer"),
        frozen=any(plan.frozen for plan in plans.values()),
        notes=tuple(note for plan in plans.values() for note in plan.notes),
    )


def anchored(config: RunConfig, keep_missing: bool = False) -> RunConfig:
    """Paths and stores that do not depend on the working folder, so that a run folder can be used from anywhere.

    Args:
        keep_missing: as :func:`~acclimate.config.load.with_absolute_paths` has it.
    """

    def absolute(spec: Spec) -> Spec:
        if not isinstance(spec, dict) or spec.get("name") not in METHODS:
            return spec
        wanted = required_statistics(METHODS[spec["name"]])
        return spec | {
            k: os.path.abspath(os.path.expanduser(v)) for k, v in spec.items() if k in wanted and str(v) == v
        }

    return with_specs(with_absolute_paths(config, keep_missing), absolute)


def _strength(config: RunConfig, methods: Mapping[str, Method], terms: Sequence[RoutedTerm]) -> Dial | None:
    """The dial of a run with a forgetting budget.

    Raises:
        ConfigError: no method has anything that it could move.
    """
    section, name = config.retain, "+".join(methods)
    if section is None or not section.steer:
        return None
    fields = {key: method.facts.strength for key, method in methods.items() if method.facts.strength is not None}
    if not fields and not any(routed.anchors for routed in terms):
        able = [key for key, method in METHODS.items() if method.facts.strength is not None]
        raise ConfigError(
            f"retain: '{name}' declares no strength that a budget could move; methods that do: {listed(able)}. Or set "
            "retain.steer: false, which only watches the budget and chooses the weights by it."
        )
    none = [(key, field) for key, field in fields.items() if getattr(methods[key], field, None) == 0]
    if none and len(none) == len(fields) and not any(routed.anchors for routed in terms):
        key, field = none[0]
        raise ConfigError(
            f"method.{field}: 0 leaves a forgetting budget (retain) nothing to move; give '{key}' a {field} above 0, "
            "or set retain.steer: false."
        )
    return Dial("strength", 1.0, section.low, section.high)


def source_route(name: str, section: SourceSection) -> str:
    """The route of a source's tokens where no role or message says otherwise."""
    return section.route or name


def _terms(methods: Mapping[str, Method]) -> list[RoutedTerm]:
    """Of all methods; two that want one term on overlapping routes differently are refused."""
    terms: list[RoutedTerm] = []
    for name, method in methods.items():
        for routed in method.terms:
            if routed in terms:
                continue
            clash = next((t for t in terms if t.name == routed.name and set(t.routes) & set(routed.routes)), None)
            if clash is not None:
                raise ConfigError(
                    f"method: '{name}' wants {routed.name} on {listed(routed.routes)}, another method of the list "
                    f"wants it on {listed(clash.routes)}; these do not compose, use one of them."
                )
            terms.append(routed)
    # what has no terms changes how something is trained, and leaves open what
    return terms or list(METHODS["sft"]().terms)


def _one_of(slots: Mapping[str, Any], slot: str, what: str) -> Any:
    """What the one method or plan that fills ``slot`` has there, None if none does."""
    found = {name: value for name, one in slots.items() if (value := getattr(one, slot)) is not None}
    if len(found) > 1:
        raise ConfigError(f"method: {' and '.join(found)} both {what}; use one of them.")
    return next(iter(found.values()), None)


def _check_routes(config: RunConfig, terms: list[RoutedTerm], name: str) -> None:
    present: dict[str, list[str]] = {}  # route -> where it is named
    for source, section in config.sources.items():
        for key in ("route", "terms") if section.routes is not None else ():
            if getattr(section, key) is not None:
                raise ConfigError(
                    f"sources.{source}: 'routes' gives every learned role its route, so '{key}' would have no effect; "
                    "keep one of them."
                )
        if section.routes is None:
            present.setdefault(source_route(source, section), []).append(f"sources.{source}")
        for role, route in (section.routes or {}).items():
            present.setdefault(route, []).append(f"sources.{source}.routes.{role}")
    own = {source_route(name, section) for name, section in config.sources.items() if section.terms is not None}
    known = [*dict.fromkeys([*METHOD_ROUTES, *(route for routed in terms for route in routed.routes)])]
    unread = [(place, route) for route, places in present.items() if route not in {*known, *own} for place in places]
    if unread:
        (place, route), others = unread[0], [f"{place} ('{route}')" for place, route in unread[1:]]
        also = f" So it is with {', '.join(others)}." if others else ""
        raise ConfigError(
            f"{place}: its route is '{route}', which no loss term of '{name}' looks at; give it "
            f"route: {listed(known)}, or its own terms.{nearest(route, known)}{also}"
        )


def _with_source_terms(sources: Mapping[str, SourceSection], terms: list[RoutedTerm]) -> list[RoutedTerm]:
    """Puts a source's ``terms`` in place of the method's for its route.

    Sources that name the same term with the same weight share its denominator.
    """
    own = {name: section for name, section in sources.items() if section.terms is not None}
    for name, section in own.items():
        route = source_route(name, section)
        others = [n for n, s in sources.items() if n != name and (source_route(n, s) == route or route in _named(s))]
        if others:
            raise ConfigError(
                f"sources.{name}.terms: the route '{route}' is shared with sources.{others[0]}; leave route out, so "
                "that the terms hold for this source alone."
            )
        terms = [replace(t, routes=tuple(r for r in t.routes if r != route)) for t in terms]
    for name, section in own.items():
        for term_name, weight in (section.terms or {}).items():
            if term_name not in TERMS:
                raise ConfigError(
                    f"sources.{name}.terms: there is no loss term '{term_name}'; accepted: {listed(TERMS)}."
                    + nearest(term_name, TERMS)
                )
            term, route = TERMS[term_name](), source_route(name, section)
            reference = "base" if term.needs_reference else None
            anchors = (route,) if term.needs_reference else ()
            own_term = RoutedTerm(term_name, term, (route,), weight, reference, anchors=anchors)
            same = next((i for i, t in enumerate(terms) if _same(t, own_term)), None)
            if same is not None:
                both = terms[same]
                terms[same] = replace(both, routes=(*both.routes, route), anchors=(*both.anchors, *anchors))
            else:
                terms.append(own_term)
    return [term for term in terms if term.routes]


def _same(one: RoutedTerm, other: RoutedTerm) -> bool:
    """But for the routes."""
    return one == replace(other, name=one.name, routes=one.routes, anchors=one.anchors)


def _named(section: SourceSection) -> set[str]:
    return set((section.routes or {}).values())
