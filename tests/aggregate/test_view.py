"""The names under which a namespace publishes tools and prompts, and what overrides and switches do to them."""

import itertools

import pytest

from metamcp_asgi.aggregate.view import MAX_URI
from metamcp_asgi.config.snapshot import ToolOverride
from tests.aggregate.views import aim, called, catalogue, entry, listed, names, tools, view_of


def off(**more):
    return ToolOverride(enabled=False, **more)


class TestNames:
    def test_a_tool_is_named_after_its_server(self):
        view = view_of(tools("time", "now", "convert"), tools("files", "read"))
        assert names(view) == ["time__convert", "time__now", "files__read"]
        assert called(view, "time__now") == ("time", "now")

    def test_a_prompt_is_named_after_its_server(self):
        view = view_of(catalogue("a", prompts=[entry("prompts/list", "greet")]))
        assert names(view, "prompts/list") == ["a__greet"]
        assert view.prompts["a__greet"].key == "greet"

    def test_the_server_ends_at_the_first_double_underscore(self):
        view = view_of(tools("outer", "inner__tool"), tools("inner", "tool"))
        assert called(view, "outer__inner__tool") == ("outer", "inner__tool")
        assert called(view, "inner__tool") == ("inner", "tool")

    def test_servers_come_in_the_order_of_the_namespace_and_tools_in_that_of_their_names(self):
        forward, backward = (
            view_of(tools("b", "z", "a"), tools("a", "m")),
            view_of(tools("a", "m"), tools("b", "z", "a")),
        )
        assert names(forward) == ["b__a", "b__z", "a__m"]
        assert names(backward) == ["a__m", "b__a", "b__z"]

    @pytest.mark.parametrize("order", list(itertools.permutations(["x", "y", "z"])))
    def test_the_order_in_which_a_server_lists_its_tools_does_not_matter(self, order):
        same = view_of(tools("a", "x", "y", "z"))
        assert view_of(tools("a", *order)).items == same.items

    def test_a_bare_name_is_understood_where_only_one_tool_has_it(self):
        view = view_of(tools("a", "x", "only"), tools("b", "x"))
        assert called(view, "only") == ("a", "only")
        assert called(view, "x") is None

    def test_a_bare_name_is_never_taken_for_another_servers_qualified_name(self):
        overridden = view_of(tools("a", "x"), tools("b", "a__x"), overrides={("a", "x"): ToolOverride(name="y")})
        assert called(overridden, "a__x") == ("a", "x")
        switched_off = view_of(tools("a", "x"), tools("b", "a__x"), overrides={("a", "x"): off()})
        assert called(switched_off, "a__x") is None
        assert "a__x" in switched_off.refused
        assert called(switched_off, "b__a__x") == ("b", "a__x")

    def test_nor_for_that_of_a_tool_that_was_left_out(self):
        view = view_of(
            tools("b", "a__x", "x"), tools("a", "x"), prefix="never", overrides={("b", "a__x"): ToolOverride(name="y")}
        )
        assert names(view) == ["y", "x"]
        assert called(view, "a__x") is None
        assert called(view, "b__a__x") == ("b", "a__x")


class TestPrefixRules:
    def test_never(self):
        view = view_of(tools("a", "x"), tools("b", "y"), prefix="never")
        assert names(view) == ["x", "y"]
        assert called(view, "x") == called(view, "a__x") == ("a", "x")

    def test_never_publishes_a_name_once_and_says_which_tool_is_left_out(self):
        view = view_of(tools("a", "x"), tools("b", "x"), prefix="never")
        assert names(view) == ["x"]
        assert called(view, "x") == ("a", "x")
        assert len(view.left_out) == 1
        assert "b" in view.left_out[0]
        assert called(view, "b__x") is None, "what is not advertised is not callable"

    def test_on_collision_prefixes_only_what_would_collide(self):
        view = view_of(tools("a", "x", "y"), tools("b", "x"), prefix="on-collision")
        assert names(view) == ["a__x", "y", "b__x"]

    def test_on_collision_a_tool_that_is_switched_off_collides_with_nothing(self):
        view = view_of(tools("a", "x"), tools("b", "x"), prefix="on-collision", overrides={("a", "x"): off()})
        assert names(view) == ["x"]
        assert called(view, "x") == ("b", "x")

    def test_on_collision_sees_the_names_after_overrides(self):
        override = {("a", "x"): ToolOverride(name="y")}
        view = view_of(tools("a", "x"), tools("b", "y"), prefix="on-collision", overrides=override)
        assert names(view) == ["a__y", "b__y"]

    @pytest.mark.parametrize("prefix", ["never", "on-collision"])
    def test_a_name_is_refused_when_every_tool_that_would_have_it_is_switched_off(self, prefix):
        view = view_of(
            tools("a", "x"), tools("b", "x"), prefix=prefix, overrides={("a", "x"): off(), ("b", "x"): off()}
        )
        assert names(view) == []
        assert {"x", "a__x", "b__x"} <= view.refused


class TestOverrides:
    def test_the_name_is_changed_and_the_original_stays_callable(self):
        view = view_of(tools("a", "x"), overrides={("a", "x"): ToolOverride(name="better")})
        assert names(view) == ["a__better"]
        for name in ("a__better", "a__x", "x", "better"):
            assert called(view, name) == ("a", "x"), name

    def test_title_and_description_replace_the_servers(self):
        own = catalogue(
            "a", tools=[entry("tools/list", "x", title="T", description="D", inputSchema={"type": "object"})]
        )
        override = ToolOverride(title="new title", description="")
        assert listed(view_of(own, overrides={("a", "x"): override})) == [
            {"name": "a__x", "title": "new title", "description": "", "inputSchema": {"type": "object"}}
        ]

    def test_what_is_not_overridden_stays_as_the_server_has_it(self):
        own = catalogue("a", tools=[entry("tools/list", "x", title="T", description="D", annotations={"title": "A"})])
        (item,) = listed(view_of(own, overrides={("a", "x"): ToolOverride(name="y")}))
        assert item == {"name": "a__y", "title": "T", "description": "D", "annotations": {"title": "A"}}

    def test_annotations_are_merged_key_by_key(self):
        own = catalogue(
            "a",
            tools=[
                entry("tools/list", "x", annotations={"readOnlyHint": True, "title": "A"}),
                entry("tools/list", "y"),
            ],
        )
        change = ToolOverride(annotations={"readOnlyHint": False, "idempotentHint": True})
        x, y = listed(view_of(own, overrides={("a", "x"): change, ("a", "y"): change}))
        assert x["annotations"] == {"readOnlyHint": False, "title": "A", "idempotentHint": True}
        assert y["annotations"] == {"readOnlyHint": False, "idempotentHint": True}

    def test_two_servers_may_be_overridden_to_the_same_name(self):
        change = ToolOverride(name="search")
        view = view_of(tools("a", "x"), tools("b", "y"), overrides={("a", "x"): change, ("b", "y"): change})
        assert called(view, "a__search") == ("a", "x")
        assert called(view, "b__search") == ("b", "y")

    def test_an_override_does_not_take_the_name_of_another_tool(self):
        view = view_of(tools("a", "x", "y"), overrides={("a", "x"): ToolOverride(name="y")})
        assert names(view) == ["a__x", "a__y"]
        assert called(view, "a__y") == ("a", "y")
        assert called(view, "a__x") == ("a", "x")

    def test_two_tools_may_swap_their_names(self):
        change = {("a", "x"): ToolOverride(name="y"), ("a", "y"): ToolOverride(name="x")}
        view = view_of(tools("a", "x", "y"), overrides=change)
        published = {item["name"]: item["description"] for item in listed(view)}
        assert published == {"a__y": "a/x", "a__x": "a/y"}
        assert called(view, "a__x") == ("a", "y")


class TestSwitchedOff:
    @pytest.mark.parametrize("prefix", ["always", "never", "on-collision"])
    def test_it_is_neither_listed_nor_callable_by_any_of_its_names(self, prefix):
        change = {("a", "x"): off(name="better")}
        view = view_of(tools("a", "x"), tools("b", "z"), prefix=prefix, overrides=change)
        assert len(names(view)) == 1
        for name in ("a__x", "a__better", "x", "better"):
            assert called(view, name) is None, name
            assert name in view.refused, name

    def test_its_name_may_be_given_to_another_tool(self):
        view = view_of(tools("a", "x", "y"), overrides={("a", "x"): off(), ("a", "y"): ToolOverride(name="x")})
        assert called(view, "a__x") == ("a", "y")
        assert "a__x" not in view.refused


def test_a_server_without_lists_is_named_and_does_not_empty_the_others():
    view = view_of(tools("a", "x"), catalogue("b", down="exited with code 1"))
    assert names(view) == ["a__x"]
    assert view.unavailable == {"b": "exited with code 1"}


def test_a_field_of_the_legacy_revisions_is_left_out_for_modern_clients_only():
    own = catalogue("a", tools=[entry("tools/list", "x", execution={"taskSupport": "forbidden"})])
    (item,) = view_of(own).items["tools/list"]
    assert b"execution" not in item.modern
    assert b"taskSupport" in item.legacy


def test_a_uri_of_endless_length_is_found_only_if_it_is_listed():
    long = "memo://" + "x" * MAX_URI
    resources, templates = [entry("resources/list", long)], [entry("resources/templates/list", "memo://{+rest}")]
    view = view_of(catalogue("a", resources=resources, templates=templates))
    assert aim(view.resource(long)) == ("a", long)
    assert aim(view.resource(long[:MAX_URI])) == ("a", long[:MAX_URI])
    assert view.resource(long[: MAX_URI + 1]) is None
