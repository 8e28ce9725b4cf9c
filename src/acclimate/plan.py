"""Configuration to one plan: methods composed, routes checked, sources' own terms put in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from acclimate.config import RunConfig
from acclimate.errors import ConfigError, listed, nearest
from acclimate.explain import explain
from acclimate.registry import METHODS, TERMS
from acclimate.source_schema import SourceSection
from acclimate.statistics.store import required_statistics
from acclimate.types import METHOD_ROUTES, Method, Plan, PlanContext, RoutedTerm


def method_names(config: RunConfig) -> list[str]:
    """The names in ``method``, in order: ``["mol", "l2"]``."""
    specs = config.method if isinstance(config.method, list) else [config.method]
    return [spec if isinstance(spec, str) else str(spec.get("name")) for spec in specs]


def build_methods(config: RunConfig) -> list[Method]:
    """The method objects with their settings.

    Raises:
        ConfigError: unknown method or setting, with the nearest spelling.
    """
    specs = config.method if isinstance(config.method, list) else [config.method]
    if not specs:
        raise ConfigError(f"method: is an empty list; accepted: one or more of {listed(METHODS)}.")
    names = method_names(config)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"method: '{twice}' is listed twice; keep one.")
    methods = []
    for index, spec in enumerate(specs):
        where = f"method.{index}" if isinstance(config.method, list) else "method"
        settings: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: needs a name; accepted: {listed(METHODS)}.")
        if name not in METHODS:
            raise ConfigError(
                f"{where}: there is no method '{name}'; accepted: {listed(METHODS)}.{nearest(str(name), METHODS)}"
            )
        try:
            methods.append(TypeAdapter(METHODS[name]).validate_python(settings))
        except ValidationError as error:
            raise ConfigError(explain(error, METHODS[name], config.places, where)) from None
    return methods


def build_plan(config: RunConfig, context: PlanContext) -> Plan:
    """One plan from all methods and from the sources' own terms, checked against the sources' routes."""
    names = method_names(config)
    context = replace(context, validation_documents=config.evaluation.validation_documents)
    plans = dict(zip(names, [method.plan(context) for method in build_methods(config)], strict=True))
    if not any(plan.terms for plan in plans.values()):  # they change how something is trained, and leave open what
        plans["sft"] = METHODS["sft"]().plan(context)
    plan = _compose(plans)
    _check_routes(config, plan, names)
    plan = _with_source_terms(config.sources, plan)
    for slot, what in (("weighting", "weighs the tokens"), ("selection", "chooses the labels")):
        if getattr(plan, slot) is not None and all(getattr(routed, slot) is None for routed in plan.terms):
            raise ConfigError(
                f"method: '{'+'.join(names)}' {what} of the cross-entropy, but there is none: the other methods have "
                "no such term, or all their sources bring terms of their own."
            )
    return plan


def with_absolute_stores(config: RunConfig) -> RunConfig:
    """Stores that do not depend on the working folder, as :func:`~acclimate.config.with_absolute_paths` does it."""

    def absolute(spec: str | dict[str, Any]) -> str | dict[str, Any]:
        if not isinstance(spec, dict) or spec.get("name") not in METHODS:
            return spec
        wanted = required_statistics(METHODS[spec["name"]])
        return spec | {
            k: os.path.abspath(os.path.expanduser(v)) for k, v in spec.items() if k in wanted and str(v) == v
        }

    method = config.method
    found = [absolute(spec) for spec in method] if isinstance(method, list) else absolute(method)
    return config.model_copy(update={"method": found})


def source_route(name: str, section: SourceSection) -> str:
    """The route of a source's tokens where no role or message says otherwise."""
    return section.route or name


def _compose(plans: Mapping[str, Plan]) -> Plan:
    """The slots of all plans together; two methods that want one slot differently are refused."""
    terms: list[RoutedTerm] = []
    scale = _one_of(plans, "update_scale", "scale the update")
    tokenwise = {
        "weighting": _one_of(plans, "weighting", "weigh the tokens of the cross-entropy"),
        "selection": _one_of(plans, "selection", "choose the labels of the cross-entropy"),
    }
    for name, plan in plans.items():
        for routed in plan.terms:
            if routed in terms:
                continue
            clash = next((t for t in terms if t.name == routed.name and set(t.routes) & set(routed.routes)), None)
            if clash is not None:
                raise ConfigError(
                    f"method: '{name}' wants {routed.name} on {listed(routed.routes)}, another method of the list "
                    f"wants it on {listed(clash.routes)}; these do not compose, use one of them."
                )
            terms.append(routed)
    return Plan(
        terms=tuple(replace(t, **tokenwise) if t.name == "cross_entropy" else t for t in terms),
        **tokenwise,
        references={key: path for plan in plans.values() for key, path in plan.references.items()},
        transforms=tuple(transform for plan in plans.values() for transform in plan.transforms),
        update_scale=scale,
        controllers=tuple(controller for plan in plans.values() for controller in plan.controllers),
        callbacks=tuple(callback for plan in plans.values() for callback in plan.callbacks),
        start=_one_of(plans, "start", "start from weights of their own"),
        after=_one_of(plans, "after", "settle the weights after training"),
        statistics=tuple(store for plan in plans.values() for store in plan.statistics),
        notes=tuple(note for plan in plans.values() for note in plan.notes),
    )


def _one_of(plans: Mapping[str, Plan], slot: str, what: str) -> Any:
    """What the one plan that fills ``slot`` has there, None if none does."""
    found = {name: value for name, plan in plans.items() if (value := getattr(plan, slot)) is not None}
    if len(found) > 1:
        raise ConfigError(f"method: {' and '.join(found)} both {what}; use one of them.")
    return next(iter(found.values()), None)


def _check_routes(config: RunConfig, plan: Plan, names: Sequence[str]) -> None:
    present: dict[str, list[str]] = {}  # route -> where it is named
    for name, section in config.sources.items():
        for key in ("route", "terms") if section.routes is not None else ():
            if getattr(section, key) is not None:
                raise ConfigError(
                    f"sources.{name}: 'routes' gives every learned role its route, so '{key}' would have no effect; "
                    "keep one of them."
                )
        if section.routes is None:
            present.setdefault(source_route(name, section), []).append(f"sources.{name}")
        for role, route in (section.routes or {}).items():
            present.setdefault(route, []).append(f"sources.{name}.routes.{role}")
    own = {source_route(name, section) for name, section in config.sources.items() if section.terms is not None}
    known = [*dict.fromkeys([*METHOD_ROUTES, *plan.routes])]
    for route, places in present.items():
        if route not in known and route not in own:
            raise ConfigError(
                f"{places[0]}: its route is '{route}', which no loss term of '{'+'.join(names)}' looks at; give it "
                f"route: {listed(known)}, or its own terms.{nearest(route, known)}"
            )


def _with_source_terms(sources: Mapping[str, SourceSection], plan: Plan) -> Plan:
    """Puts a source's ``terms`` in place of the method's for its route.

    Sources that name the same term with the same weight share its denominator.
    """
    terms = list(plan.terms)
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
            own_term = RoutedTerm(term_name, term, (route,), weight, reference)
            same = next((i for i, t in enumerate(terms) if t == replace(own_term, name=t.name, routes=t.routes)), None)
            if same is not None:
                terms[same] = replace(terms[same], routes=(*terms[same].routes, route))
            else:
                terms.append(own_term)
    return replace(plan, terms=tuple(term for term in terms if term.routes))


def _named(section: SourceSection) -> set[str]:
    return set((section.routes or {}).values())
