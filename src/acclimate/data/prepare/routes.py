"""The run's route table: which routes exist, and which tokens of a document take which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from acclimate.config.source_schema import SourceSection
from acclimate.data.read.records import Document
from acclimate.types.central import METHOD_ROUTES, Route
from acclimate.types.errors import DataError, listed, nearest

NOT_LEARNED = -1
"""Route of a token that is context only."""


def role_routes(name: str, section: SourceSection) -> dict[str, str]:
    """Role -> route name of the parts that are learned."""
    if section.routes is not None:
        return dict(section.routes)
    return dict.fromkeys(section.learned_roles, section.route or name)


def all_domain(name: str, section: SourceSection) -> bool:
    """Whether every learned part has the route ``domain``, which makes the source one of the domain."""
    return has_route(name, section, "domain")


def has_route(name: str, section: SourceSection, route: str) -> bool:
    """Whether every learned part has this route."""
    return set(role_routes(name, section).values()) == {route}


def route_table(sources: Mapping[str, SourceSection]) -> tuple[Route, ...]:
    """Every (source, route name) of the configuration, in its order.

    >>> route_table({"law": SourceSection(path="a", route="domain"), "general": SourceSection(path="b")})
    (Route(source='law', name='domain'), Route(source='general', name='general'))
    """
    return tuple(
        dict.fromkeys(
            Route(name, route) for name, section in sources.items() for route in role_routes(name, section).values()
        )
    )


def extend_table(
    table: tuple[Route, ...], source: str, message_routes: Mapping[str, tuple[str, int]]
) -> tuple[Route, ...]:
    """Adds the routes that messages of a source name themselves.

    Args:
        message_routes: route name -> place of the first document that names it, and which of its messages.

    Raises:
        DataError: a message names a route that no source and no method has.
    """
    known = list(dict.fromkeys([*(route.name for route in table), *METHOD_ROUTES]))
    routes = dict.fromkeys(table)
    for name, (where, number) in message_routes.items():
        if name not in known:
            raise DataError(
                f"{where}: message {number} has the route '{name}', which this run does not know; "
                f"accepted: {listed(known)}.{nearest(name, known)}"
            )
        routes[Route(source, name)] = None
    return tuple(routes)


def message_routes(documents: Iterable[Document]) -> dict[str, tuple[str, int]]:
    """Every route that a message names: the document that first names it, and which of its messages, from 1."""
    found: dict[str, tuple[str, int]] = {}
    for document in documents:
        for number, part in enumerate(document.parts, 1):
            if part.route is not None:
                found.setdefault(part.route, (document.where, number))
    return found


def check_roles(name: str, section: SourceSection, roles: Iterable[str], among: str = "no document") -> None:
    """Refuses a role in ``routes`` that no document has: it would have no effect, and is most often a typing error."""
    found = sorted(set(roles))
    for role in section.routes or {}:
        if role not in found:
            raise DataError(
                f"sources.{name}.routes names the role '{role}', which {among} has; "
                f"roles found: {', '.join(found)}.{nearest(role, found)}"
            )
