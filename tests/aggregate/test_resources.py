"""Resources of several servers: their URIs are left alone while they are unique, and told apart where they are not."""

import contextlib
import json

import pytest

from tests.scripted import LegacyServer, ModernServer, Offer, tool
from tests.serving import gateway, serving


def offer_of(owner, *uris, templates=(), tools=None):
    """Returns an offer whose resources say whose they are."""
    offer = Offer(**(tools or {}))
    offer.lists["resources/list"] = [{"uri": uri, "name": owner} for uri in uris]
    offer.lists["resources/templates/list"] = [{"uriTemplate": template, "name": owner} for template in templates]
    offer.read = lambda uri: {"contents": [{"uri": uri, "text": f"{owner}: {uri}"}]}
    return offer


@contextlib.asynccontextmanager
async def endpoint(kind=LegacyServer, **offers):
    async with contextlib.AsyncExitStack() as stack:
        servers = {}
        for name, offer in offers.items():
            up = await stack.enter_async_context(serving(kind(offer)))
            servers[name] = {"url": f"{up.origin}/mcp"}
        running = await stack.enter_async_context(gateway(servers))
        # Which URIs are told apart depends on which servers are known to have them.
        await running.ready()
        yield running


async def uris(client, method="resources/list", member="resources", key="uri"):
    return [item[key] for item in (await client.result(method))[member]]


async def read(client, uri):
    """Reads a resource and returns the URI and the text of its content."""
    (content,) = (await client.result("resources/read", uri=uri))["contents"]
    return content["uri"], content["text"]


async def test_a_unique_uri_is_left_alone():
    async with endpoint(a=offer_of("a", "file:///x"), b=offer_of("b", "https://b/x")) as g:
        assert await uris(g) == ["file:///x", "https://b/x"]
        assert await read(g, "file:///x") == ("file:///x", "a: file:///x")


@pytest.mark.parametrize("kind", [LegacyServer, ModernServer])
async def test_a_uri_of_two_servers_is_told_apart_by_their_names(kind):
    a, b = offer_of("a", "file:///x", "ui://app", "file:///a"), offer_of("b", "file:///x", "ui://app")
    async with endpoint(kind, a=a, b=b) as g:
        assert await uris(g) == ["file:///a", "a+file:///x", "ui://a+app", "b+file:///x", "ui://b+app"]
        for client in (g, await g.session()):
            assert await read(client, "a+file:///x") == ("a+file:///x", "a: file:///x")
            assert await read(client, "b+file:///x") == ("b+file:///x", "b: file:///x")
            assert await read(client, "ui://b+app") == ("ui://b+app", "b: ui://app")
            answer = await client.ask("resources/read", uri="file:///x")
            assert "error" in answer, "a read is never tried on several servers"


async def test_a_template_leads_to_its_server():
    a = offer_of("a", templates=["note:///{id}", "db://{table}/rows{?limit}"])
    async with endpoint(a=a, b=offer_of("b", templates=["user:///{id}/mail"])) as g:
        assert await read(g, "note:///5") == ("note:///5", "a: note:///5")
        assert await read(g, "user:///5/mail") == ("user:///5/mail", "b: user:///5/mail")
        assert await read(g, "db://people/rows?limit=3") == ("db://people/rows?limit=3", "a: db://people/rows?limit=3")


async def test_a_template_of_two_servers_is_told_apart():
    templates = ["note:///{id}"]
    async with endpoint(a=offer_of("a", templates=templates), b=offer_of("b", templates=templates)) as g:
        published = await uris(g, "resources/templates/list", "resourceTemplates", "uriTemplate")
        assert published == ["a+note:///{id}", "b+note:///{id}"]
        assert await read(g, "b+note:///5") == ("b+note:///5", "b: note:///5")
        assert "error" in await g.ask("resources/read", uri="note:///5")


async def test_a_resource_beats_a_template_that_matches_as_well():
    a, b = offer_of("a", templates=["file:///{+path}"]), offer_of("b", "file:///special")
    async with endpoint(a=a, b=b) as g:
        assert await read(g, "file:///special") == ("file:///special", "b: file:///special")
        assert await read(g, "file:///other") == ("file:///other", "a: file:///other")


async def test_an_unlisted_uri_goes_to_the_only_owner_of_its_scheme():
    async with endpoint(a=offer_of("a", "memo://1"), b=offer_of("b", "file:///x"), c=offer_of("c", "file:///y")) as g:
        assert await read(g, "memo://2") == ("memo://2", "a: memo://2")
        assert "error" in await g.ask("resources/read", uri="file:///z")


async def test_an_unknown_resource_gets_the_code_of_the_clients_revision():
    async with endpoint(a=offer_of("a", "memo://1")) as g:
        for client, code in ((g, -32602), (await g.session(), -32002)):
            error = (await client.ask("resources/read", uri="nowhere://x"))["error"]
            assert (error["code"], error["data"]) == (code, {"uri": "nowhere://x"})


async def results(context):
    """A tool that points to a resource in every way there is."""
    uri = context.arguments["uri"]
    return {
        "content": [
            {"type": "resource_link", "uri": uri, "name": "link"},
            {"type": "resource", "resource": {"uri": uri, "text": f"see {uri}"}},
            {"type": "text", "text": uri},
        ],
        "structuredContent": {"uri": uri},
    }


async def test_links_in_results_are_published_like_the_lists():
    a = offer_of("a", "file:///x", "file:///own", tools={"point": results})
    async with endpoint(a=a, b=offer_of("b", "file:///x")) as g:
        content = (await g.call("a__point", uri="file:///x"))["content"]
        assert content[0]["uri"] == content[1]["resource"]["uri"] == "a+file:///x"
        assert content[2]["text"] == "file:///x", "text is the server's own"
        assert content[1]["resource"]["text"] == "see file:///x"
        content = (await g.call("a__point", uri="file:///own"))["content"]
        assert content[0]["uri"] == "file:///own"


async def test_links_that_a_shared_template_makes_can_be_read():
    templates = ["note:///{id}"]
    a = offer_of("a", templates=templates, tools={"point": results})
    async with endpoint(a=a, b=offer_of("b", templates=templates)) as g:
        (link, *_) = (await g.call("a__point", uri="note:///5"))["content"]
        assert (await read(g, link["uri"]))[1] == "a: note:///5"


async def test_the_app_of_a_tool_is_published_under_its_new_uri():
    a, b = offer_of("a", "ui://app"), offer_of("b", "ui://app")
    meta = {"ui": {"resourceUri": "ui://app"}, "ui/resourceUri": "ui://app", "own": 1}
    a.lists["tools/list"] = [tool("echo", _meta=meta)]
    async with endpoint(a=a, b=b) as g:
        (published, _) = (await g.result("tools/list"))["tools"]
        assert published["_meta"] == {"ui": {"resourceUri": "ui://a+app"}, "ui/resourceUri": "ui://a+app", "own": 1}
        assert (await read(g, "ui://a+app"))[1] == "a: ui://app"


async def test_a_renamed_resource_keeps_everything_else():
    a, b = offer_of("a"), offer_of("b", "file:///x")
    a.lists["resources/list"] = [
        {"uri": "file:///x", "name": "n", "mimeType": "text/plain", "size": 3, "_meta": {"k": 1}}
    ]
    async with endpoint(a=a, b=b) as g:
        first = (await g.result("resources/list"))["resources"][0]
        assert first == {"uri": "a+file:///x", "name": "n", "mimeType": "text/plain", "size": 3, "_meta": {"k": 1}}
        assert json.dumps(first)
