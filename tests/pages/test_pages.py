"""What every page has: headers that protect it, a language, links that are right, files that are kept."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from metamcp_asgi.pages.assets import asset_path, serve_assets
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.preferences import preferences
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.pages.site import site
from metamcp_asgi.pages.templates import environment
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.store.errors import Busy, NotFound
from metamcp_asgi.store.policy import Forbidden
from tests.signin.people import said, token_of


async def _page(request: Request) -> Response:
    if request.method == "POST":
        form = form_of(request.scope)
        return to(request.scope, "/shown", text=form["text"], boxes=",".join(form.all("box")))
    text = request.query_params.get("text", "Nothing is wrong.")
    return render(request.scope, "pages/fault.html", text=text, form_action=request.query_params.getlist("leads"))


async def _fails(request: Request) -> Response:
    raise {
        "forbidden": Forbidden("rule", "this is not yours"),
        "missing": NotFound("server", "x"),
        "busy": Busy("postgresql://secret"),
        "defect": RuntimeError("a secret"),
        "fault": Fault(418, "No coffee."),
    }[request.path_params["how"]]


APP = Router(
    [
        Route("/page", _page, methods=["GET", "POST"]),
        Route("/fails/{how}", _fails),
    ],
    default=preferences,
)


@asynccontextmanager
async def visiting(place: Place | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    app = site(APP, place or Place(), max_body_bytes=1000)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:1", headers={"Sec-Fetch-Site": "same-origin"}
    ) as http:
        yield http


async def test_a_page_runs_nothing_that_is_not_ours_and_is_framed_and_kept_by_nobody() -> None:
    async with visiting() as http:
        headers = (await http.get("/page")).headers
        policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


async def test_a_form_leads_to_sources_only_and_not_to_directives_of_somebody_else() -> None:
    good = ["https://as.example", "https://as.example:8443", "http://[::1]:9", "cursor:", "com.example.app:"]
    bad = [
        "https://a;script-src *",
        "https://a, b",
        "https://a 'unsafe-inline'",
        "https://a/b?c",
        "*",
        ";",
        "",
        "https://ä",
    ]
    async with visiting() as http:
        policy = (await http.get("/page", params={"leads": [*good, *bad]})).headers["content-security-policy"]
    assert f"form-action 'self' {' '.join(good)};" in policy
    assert policy.count(";") == 7


async def test_what_a_page_shows_is_text_and_never_markup() -> None:
    async with visiting() as http:
        shown = (await http.get("/page", params={"text": "<script>alert(1)</script>"})).text
        assert "<script>alert" not in shown
        assert "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"),
        ({"Accept-Language": "fr, en;q=0.5, zh;q=0.7"}, "zh"),
        ({"Accept-Language": "zh;q=0, ko, *"}, "en"),
        ({"Accept-Language": ";;;=,,q=9"}, "en"),
        ({"Accept-Language": "zh", "Cookie": "preferred-language=en"}, "en"),
        ({"Accept-Language": "en", "Cookie": "preferred-language=zh"}, "zh"),
        ({"Cookie": "preferred-language=xx"}, "en"),
    ],
)
async def test_the_language_is_the_chosen_one_else_a_preferred_one(headers: dict[str, str], language: str) -> None:
    async with visiting() as http:
        page = await http.get("/page", headers=headers)
        assert page.headers["content-language"] == language
        assert f'<html lang="{language}"' in page.text
        assert ("Skip to content" in page.text) == (language == "en")


async def test_language_and_theme_are_kept_and_lead_back_to_the_page() -> None:
    async with visiting() as http:
        page = await http.get("/page?text=x")
        form = {"csrf_token": token_of(page), "back": "/page?text=x"}
        answer = await http.post("/preferences", data={**form, "theme": "dark"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/page?text=x")
        answer = await http.post("/preferences", data={**form, "language": "zh", "back": "//evil.example"})
        assert answer.headers["location"] == "/"
        page = await http.get("/page")
        assert '<html lang="zh" data-theme="dark">' in page.text
        await http.post("/preferences", data={**form, "theme": "pink", "language": "../x"})
        assert '<html lang="zh" data-theme="dark">' in (await http.get("/page")).text


async def test_a_form_needs_its_token_and_a_reasonable_size() -> None:
    async with visiting() as http:
        token = token_of(await http.get("/page"))
        answer = await http.post("/page", data={"csrf_token": token, "text": "a\r\nb & c", "box": ["1", "2"]})
        assert answer.headers["location"] == "/shown?text=a%0Ab+%26+c&boxes=1%2C2"
        by_htmx = await http.post("/page", data={"text": "x"}, headers={"X-CSRF-Token": token, "HX-Request": "true"})
        assert (by_htmx.status_code, by_htmx.headers["hx-redirect"]) == (204, "/shown?text=x&boxes=")
        assert (await http.post("/page", data={"text": "x"})).status_code == 403
        large = await http.post("/page", data={"csrf_token": token, "text": "x" * 1000})
        assert (large.status_code, said(large)) == (413, "This form is too large.")
        for broken in (b"csrf_token=\xff", b"csrf_token=%ff", b"a=%00"):
            headers = {"Content-Type": "application/x-www-form-urlencoded", "X-CSRF-Token": token}
            assert (await http.post("/page", content=broken, headers=headers)).status_code == 400
        assert (await http.post("/page", json={"csrf_token": token})).status_code == 403
        http.cookies.clear()
        assert (await http.post("/page", data={"csrf_token": token})).status_code == 403, "of another visitor"


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("forbidden", 403, "This is not yours."),
        ("missing", 404, "There is no server x."),
        ("busy", 503, "The database cannot be used now. Try again in a moment."),
        ("defect", 500, "Something went wrong here. The gateway's log has more."),
        ("fault", 418, "No coffee."),
    ],
)
async def test_what_goes_wrong_is_a_page_that_says_so_and_no_more(how: str, status: int, text: str) -> None:
    async with visiting() as http:
        page = await http.get(f"/fails/{how}")
        assert (page.status_code, said(page)) == (status, text)
        assert "secret" not in page.text


async def test_without_the_packages_for_pages_it_says_which_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    environment.cache_clear()
    try:
        async with visiting() as http:
            answer = await http.get("/page")
            assert answer.status_code == 501
            assert 'pip install "metamcp-asgi[admin]"' in answer.text
    finally:
        environment.cache_clear()


async def test_files_have_the_address_of_their_content_and_are_kept_for_good() -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(serve_assets), base_url="http://127.0.0.1:1") as http:
        for name, kind in (
            ("style.css", "text/css"),
            ("htmx.min.js", "text/javascript"),
            ("icon.svg", "image/svg+xml"),
            ("inspector/inspector.js", "text/javascript"),
        ):
            answer = await http.get(asset_path(name))
            assert answer.headers["content-type"].startswith(kind)
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-encoding"] == "gzip"
            plain = await http.get(asset_path(name), headers={"Accept-Encoding": "identity"})
            assert plain.text == answer.text
            again = await http.get(asset_path(name), headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
        for path in (
            "/assets/0000000000000000/style.css",
            "/assets/x/../../site.py",
            "/assets",
            "/assets/LICENSE.htmx",
            asset_path("inspector/inspector.js").removesuffix("inspector.js"),
        ):
            assert (await http.get(path)).status_code == 404
    # Modules of a folder import each other by their names alone, so a change of one is a change of all addresses.
    assert asset_path("inspector/dom.js") == asset_path("inspector/inspector.js").replace("inspector.js", "dom.js")


@pytest.mark.parametrize("base", ["", "/tools"])
async def test_only_what_lies_below_the_gateway_is_local(base: str) -> None:
    seen: list[bool] = []

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        visit = visit_of(scope)
        assert visit.local(f"{base}/servers?a=b#c") == f"{base}/servers?a=b#c"
        for other in (
            "",
            None,
            "servers",
            "//evil.example",
            f"{base}//evil.example" if not base else "/toolshed",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            f"{base}/\tx",
            f"{base}/\r\nSet-Cookie: a=b",
            f"{base}/\u00e9",
        ):
            assert visit.local(other) == f"{base}/", other
        seen.append(True)
        await Response()(scope, receive, send)

    transport = httpx2.ASGITransport(site(app, Place(f"https://tools.example.com{base}")))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as http:
        assert (await http.get("/x")).status_code == 200
    assert seen
