from __future__ import annotations

from acclimate.data.prepare.routes import check_roles, extend_table, message_routes, route_table
from acclimate.data.read.records import Part
from acclimate.types.central import Route
from tests.data.samples import chat, section
from tests.fixtures.sentences import refused

SOURCES = {
    "law": section(route="domain"),
    "web": section(),
    "agent": section(routes={"tool": "domain", "assistant": "style", "user": "style"}),
    "own": section(terms={"cross_entropy": 1.0}),
}
TABLE = route_table(SOURCES)


def test_the_table_lists_each_route_of_each_source_once() -> None:
    assert [(route.source, route.name) for route in TABLE] == [
        ("law", "domain"), ("web", "web"), ("agent", "domain"), ("agent", "style"), ("own", "own"),
    ]  # fmt: skip


def test_message_routes_extend_the_table() -> None:
    documents = [
        chat(Part("user", "x", "style"), Part("tool", "y", "general"), source="web"),
        chat(Part("user", "z", "style"), ("assistant", "a"), source="web"),
    ]
    assert extend_table(TABLE, "web", message_routes(documents)) == (
        *TABLE,
        Route("web", "style"),
        Route("web", "general"),
    )
    assert extend_table(TABLE, "web", {}) == TABLE


def test_an_unknown_message_route() -> None:
    with refused(
        "a.jsonl:1: message 2 has the route 'domian', …; accepted: domain, web, style, own or general. Did you mean "
        "'domain'?"
    ):
        extend_table(TABLE, "law", message_routes([chat(("user", "x"), Part("tool", "y", "domian"))]))


def test_a_role_nobody_has() -> None:
    roles = ["user", "assistant", "user"]
    check_roles("law", section(routes={"assistant": "domain"}), roles)
    check_roles("law", section(), roles)
    with refused("sources.law.routes … 'asistant', …; roles found: assistant, user. Did you mean 'assistant'?"):
        check_roles("law", section(routes={"asistant": "domain"}), roles)
