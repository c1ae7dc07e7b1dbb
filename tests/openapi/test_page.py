"""Swagger UI from our own files, which a browser can open on any endpoint."""

import gzip
import html
import re
import subprocess
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

import metamcp_asgi
from tests.gateway.running import KEY_A, KEY_B, document_of, gateway_for
from tests.openapi.bridge import Bridge

STATIC = Path(metamcp_asgi.__file__).parent / "downstream" / "static"


def linked(page: str) -> list[str]:
    return [html.unescape(url) for url in re.findall(r'(?:src|href|data-document)="([^"]*)"', page)]


@pytest.mark.parametrize("path", ["/metamcp/open/api", "/metamcp/open/api/", "/metamcp/keyed/api"])
async def test_the_page_and_all_that_it_loads(bridge: Bridge, path: str) -> None:
    answer = await bridge.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>" + path.split("/")[2] + " Server</title>" in answer.text
    kinds = {".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
    loaded = [urljoin(path, url) for url in linked(answer.text) if not url.startswith("data:")]
    assert len(loaded) == 5
    for url in loaded:
        assert url.startswith(path.rstrip("/") + "/")
        part = await bridge.http.get(url, headers={"X-API-Key": KEY_A})
        assert part.status_code == 200
        suffix = Path(url.partition("?")[0]).suffix
        assert part.headers["content-type"].startswith(kinds[suffix])
        assert len(part.content) > 100


async def test_the_page_allows_itself_nothing_from_elsewhere(bridge: Bridge) -> None:
    answer = await bridge.http.get("/metamcp/open/api")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "://" not in answer.text
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", answer.text)


async def test_the_page_holds_no_key(bridge: Bridge) -> None:
    answer = await bridge.http.get(f"/metamcp/query/api?api_key={KEY_A}")
    assert answer.status_code == 200
    assert KEY_A not in answer.text


async def test_files_are_kept_and_compressed(bridge: Bridge) -> None:
    page = (await bridge.http.get("/metamcp/open/api")).text
    (url,) = (urljoin("/metamcp/open/api", url) for url in linked(page) if "bundle" in url)
    zipped = await bridge.http.get(url, headers={"Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < 500_000
    assert "immutable" in zipped.headers["cache-control"]
    plain = await bridge.http.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == zipped.content == gzip.decompress((STATIC / "swagger-ui-bundle.js.gz").read_bytes())
    assert plain.headers["etag"] != zipped.headers["etag"]
    again = await bridge.http.get(url, headers={"If-None-Match": plain.headers["etag"], "Accept-Encoding": "identity"})
    assert (again.status_code, again.content) == (304, b"")


async def test_only_what_is_shipped_is_served(bridge: Bridge) -> None:
    for path in ("-/LICENSE.swagger-ui", "-/../openapi.py", "-/%2e%2e/openapi.py", "-/swagger-ui.css.gz"):
        assert (await bridge.http.get(f"/metamcp/open/api/{path}")).status_code == 404


@pytest.mark.parametrize("path", ["api", "api/-/page.js"])
async def test_other_methods(bridge: Bridge, path: str) -> None:
    answer = await bridge.http.post(f"/metamcp/open/{path}", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = await bridge.http.head(f"/metamcp/open/{path}")
    assert (head.status_code, head.content) == (200, b"")


async def test_no_page_of_an_endpoint_that_does_not_exist(bridge: Bridge) -> None:
    assert (await bridge.http.get("/metamcp/nobody/api")).status_code == 404


async def test_the_index_shows_what_the_caller_may_use() -> None:
    document = document_of({}, endpoints={"other": {}})
    document["apiKeys"] = [{"name": "all", "key": KEY_A}, {"name": "one", "key": KEY_B, "endpoints": ["keyed"]}]
    async with gateway_for(document) as running, httpx2.AsyncClient() as http:

        async def names(**headers: str) -> set[str]:
            answer = await http.get(f"http://127.0.0.1:{running.port}/metamcp/", headers=headers)
            assert answer.headers["cache-control"] == "no-store"
            return {endpoint["name"] for endpoint in answer.json()["endpoints"]}

        assert await names() == {"open"}
        assert await names(Authorization="Bearer wrong") == {"open"}
        assert await names(Authorization=f"Bearer {KEY_A}") == {"open", "keyed", "other"}
        assert await names(**{"X-API-Key": KEY_B}) == {"open", "keyed"}


@pytest.mark.node
def test_the_script_of_the_page_is_javascript() -> None:
    done = subprocess.run(["node", "--check", STATIC / "page.js"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
