"""Advertised is callable, and nothing else is: for any namespace, any overrides, any switches, any prefix rule.

The expectation is worked out here from the rules alone: a published name leads to the tool whose definition was listed;
of the further names, `server__name` speaks of that server's tool and of no other, a bare name of the only tool that
has it, and a tool that is switched off is reached by none.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from metamcp_asgi.config.snapshot import PrefixRule, ToolOverride
from tests.aggregate.views import aim, called, catalogue, entry, listed, tools, view_of

SERVERS = ["a", "b", "a-b", "a_"]
TOOLS = ["x", "y", "z", "a__x", "b__x", "a", "x__y", "a___x", "a__b__x", "_x"]
NOBODYS = ["", "__", "a__", "nobody", "a__nobody", "nobody__x", "c__x", "A__x", "a_x"]


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """The thousands of examples leave out thousands of tools, and each is a warning."""
    logger = logging.getLogger("metamcp.catalogue")
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(logging.NOTSET)


@dataclass
class Made:
    servers: dict[str, list[str]]
    overrides: dict[tuple[str, str], ToolOverride]
    prefix: PrefixRule


@st.composite
def namespaces(draw):
    servers = draw(st.lists(st.sampled_from(SERVERS), unique=True, min_size=1))
    offered = {server: draw(st.lists(st.sampled_from(TOOLS), unique=True, max_size=5)) for server in servers}
    own = [(server, tool) for server, names in offered.items() for tool in names]
    override = st.builds(
        ToolOverride, enabled=st.sampled_from([True, True, False]), name=st.one_of(st.none(), st.sampled_from(TOOLS))
    )
    chosen = draw(st.lists(st.sampled_from(own), unique=True)) if own else []
    overrides = {key: draw(override) for key in chosen}
    return Made(offered, overrides, draw(st.sampled_from(["always", "never", "on-collision"])))


AS_IS = ToolOverride()


@settings(max_examples=100, deadline=None)
@given(namespaces())
def test_tools(made):
    view = view_of(
        *(tools(server, *names) for server, names in made.servers.items()),
        prefix=made.prefix,
        overrides=made.overrides,
    )
    all_tools = {(server, tool) for server, names in made.servers.items() for tool in names}
    names_of = {key: {key[1], made.overrides.get(key, AS_IS).name or key[1]} for key in all_tools}
    enabled = {key for key in all_tools if made.overrides.get(key, AS_IS).enabled}
    event(f"{made.prefix}, {'all' if enabled == all_tools else 'some'} enabled")

    # What is listed is listed once, and its name reaches exactly the tool whose definition was listed.
    published = {}
    for item in listed(view):
        key = tuple(item["description"].split("/"))
        assert item["name"] not in published, "a name is published once"
        published[item["name"]] = key
        assert called(view, item["name"]) == key
    assert len(set(published.values())) == len(published), "a tool is listed once"
    assert set(published.values()) <= enabled
    assert len(published) + len(view.left_out) == len(enabled), "what is not listed is said to be left out"
    if made.prefix == "always":
        assert all(name.startswith(f"{key[0]}__") for name, key in published.items())

    def claimants(name):
        """Who may answer to a name that is not published."""
        if of := {key for key in all_tools if any(name == f"{key[0]}__{own}" for own in names_of[key])}:
            return of
        # What could not be published is nobody's rival.
        known = {*published.values(), *(all_tools - enabled)}
        having = {key for key in known if name in names_of[key]}
        return having if len(having) == 1 else set()

    # Nothing else is callable, but for the further names of what is published.
    candidates = {*view.tools, *view.refused, *NOBODYS, *TOOLS, *(f"{s}__{t}" for s in SERVERS for t in TOOLS)}
    for name in candidates - published.keys():
        reached = called(view, name)
        expected = claimants(name)
        if reached is None:
            # A further name of a published tool works, unless somebody who was switched off has the same right to it.
            assert not expected or not expected <= set(published.values()), name
        else:
            assert reached in expected, (name, reached, expected)
            assert reached in set(published.values()), (name, "leads to a tool that is not listed")
        assert not (name in view.refused and reached)
        if expected and not expected & enabled:
            assert name in view.refused, (name, "belongs to tools that are switched off")
        if name in view.refused:
            assert any(
                name in {*names_of[key], *(f"{key[0]}__{n}" for n in names_of[key])} for key in all_tools - enabled
            )


URIS = ["file:///x", "file:///y", "ui://x", "a+file:///x", "ui://a+x", "b+file:///x", "note:x"]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(SERVERS), st.lists(st.sampled_from(URIS), unique=True), min_size=1))
def test_resources(offered):
    view = view_of(
        *(
            catalogue(server, resources=[entry("resources/list", uri, name=f"{server} {uri}") for uri in uris])
            for server, uris in offered.items()
        )
    )
    published = {}
    for item in listed(view, "resources/list"):
        assert item["uri"] not in published, "a URI is published once"
        published[item["uri"]] = tuple(item["name"].split(" "))
    for uri, key in published.items():
        assert aim(view.resource(uri)) == key
    assert set(published.values()) == {(server, uri) for server, uris in offered.items() for uri in uris}
    for uri in {uri for uris in offered.values() for uri in uris}:
        if sum(uri in uris for uris in offered.values()) > 1 and uri not in published:
            assert view.resource(uri) is None, "a URI of several servers is not read from one of them"
