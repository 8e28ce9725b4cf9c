"""The run's route table: which routes exist, and which tokens of a document take which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from acclimate.data.records import Document
from acclimate.errors import DataError, listed, nearest
from acclimate.schema import SourceSection
from acclimate.types import METHOD_ROUTES, Route

NOT_LEARNED = -1
"""Route of a token that is context only."""


def role_routes(name: str, section: SourceSection) -> dict[str, str]:
    """Role -> route name of the parts that are learned."""
    if section.routes is not None:
        return dict(section.routes)
    return dict.fromkeys(("text", "completion", "assistant"), section.route or name)


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


def extend_table(table: tuple[Route, ...], documents: Iterable[Document]) -> tuple[Route, ...]:
    """Adds the routes that messages name themselves.

    Raises:
        DataError: a message names a route that no source and no method has.
    """
    known = list(dict.fromkeys([*(route.name for route in table), *METHOD_ROUTES]))
    routes = dict.fromkeys(table)
    for document in documents:
        for number, part in enumerate(document.parts, 1):
            if part.route is None:
                continue
            if part.route not in known:
                raise DataError(
                    f"{document.where}: message {number} has the route '{part.route}', which this run does not know; "
                    f"accepted: {listed(known)}.{nearest(part.route, known)}"
                )
            routes[Route(document.source, part.route)] = None
    return tuple(routes)


def check_roles(name: str, section: SourceSection, documents: Iterable[Document]) -> None:
    """Refuses a role in ``routes`` that no document has: it would have no effect, and is most often a typing error."""
    roles = sorted({part.role for document in documents for part in document.parts})
    for role in section.routes or {}:
        if role not in roles:
            raise DataError(
                f"sources.{name}.routes names the role '{role}', which no document has; "
                f"roles found: {', '.join(roles)}.{nearest(role, roles)}"
            )
