"""What is wrong with a request is told with the status that says whose fault it was, and the field."""

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.api.routing import Answering
from tests.admin.managed import ADMIN, DISABLED, ENDPOINTS_ONLY, MEMBER, Managed
from tests.admin.test_life import NOWHERE
from tests.gateway.running import served


@pytest.mark.parametrize(
    ("body", "pointer", "says"),
    [
        ({"name": "a", "commnad": "x"}, "/commnad", 'did you mean "command"?'),
        ({"command": "x"}, "/name", "is required"),
        ({"name": 1}, "/name", "str"),
        ({"name": "a", "command": "x", "args": ["ok", 1]}, "/args/1", "str"),
        ({"name": "a", "url": "ftp://x"}, "/url", "http"),
        ({"name": "a", "url": NOWHERE, "headers": {"a\nb": "x"}}, "/headers", "header"),
        ({"name": "a", "command": "x", "env": {"A": "ok", "B": 1, "C": 2}}, "/env/B", "str"),
        ({"name": "a", "url": NOWHERE, "headers": {"X/Y": ["x"]}}, "/headers/X~1Y", "str"),
        ({"name": "a", "command": "x", "env": {"TOKEN=secret": 1}}, "/env", "str"),
        ({"name": "a__b", "url": NOWHERE}, "/name", "__"),
        ([], "", "object"),
    ],
)
async def test_a_wrong_field_is_named(api: Managed, body: object, pointer: str, says: str) -> None:
    answer = await api.send("POST", "/servers", body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"], problem["type"]) == (422, "Unprocessable Entity", "about:blank")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert says in problem["errors"][0]["detail"]
    assert (await api.get("/servers"))["items"] == []


async def test_a_field_inside_of_another_is_named(api: Managed) -> None:
    namespace = await api.make("/namespaces", {"name": "all"})
    limit = {"maxRate": 5, "maxRateSecond": 60}
    answer = await api.send("POST", "/endpoints", {"name": "e", "namespaceId": namespace["id"], "rateLimit": limit})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/rateLimit/maxRateSecond"
    assert 'did you mean "maxRateSeconds"?' in answer.json()["detail"]


async def test_each_fault_of_a_request_has_its_status(api: Managed) -> None:
    made = await api.make("/servers", {"name": "web", "url": NOWHERE})
    path = f"/servers/{made['id']}"
    big = b'{"name": "' + b"x" * (5 * 1024 * 1024) + b'"}'
    for status, method, where, body, headers in (
        (400, "POST", "/servers", b"{", {}),
        (400, "POST", "/servers", b"\xff", {}),
        (400, "POST", "/servers", b"[" * 100_000, {}),
        (404, "GET", "/nothing", None, {}),
        (404, "GET", "/servers/web", None, {}),
        (404, "GET", "/servers/", None, {}),
        (404, "GET", "", None, {}),
        (405, "PUT", path, {}, {}),
        (405, "DELETE", "/servers", None, {}),
        (413, "POST", "/servers", big, {}),
        (415, "POST", "/servers", {}, {"Content-Type": "text/plain"}),
        (428, "PATCH", path, {}, {}),
        (422, "GET", "/servers?limit=0", None, {}),
        (422, "GET", "/servers?limit=many", None, {}),
        (422, "GET", "/servers?limti=5", None, {}),
        (422, "GET", "/servers?after=x", None, {}),
        (422, "GET", "/servers?secrets=yes", None, {}),
    ):
        answer = await api.send(method, where, body, headers=headers)
        assert answer.status_code == status, (method, where, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert (await api.send("PUT", path, {})).headers["allow"] == "GET, PATCH, DELETE, HEAD"
    assert (await api.send("GET", "/servers?limti=5")).json()["errors"] == [
        {"detail": 'is not a parameter here; did you mean "limit"?', "parameter": "limti"}
    ]


async def test_a_time_without_a_zone_is_refused(api: Managed) -> None:
    answer = await api.send("POST", "/keys", {"name": "k", "expiresAt": "2100-01-01T00:00:00"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/expiresAt"


async def test_who_has_no_key_or_a_wrong_one_learns_nothing(api: Managed) -> None:
    for key in (None, "sk_mt_" + "x" * 64, DISABLED):
        for method, path in (("GET", "/servers"), ("GET", "/nothing"), ("PUT", "/servers"), ("POST", "/servers")):
            answer = await api.send(method, path, key=key)
            assert answer.status_code == 401, (key, method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_that_is_not_for_managing_is_refused(api: Managed) -> None:
    answer = await api.send("GET", "/servers", key=ENDPOINTS_ONLY)
    assert answer.status_code == 403
    assert "admin-scoped" in answer.json()["detail"]


async def test_a_key_may_come_in_either_header_but_not_in_the_url(api: Managed) -> None:
    assert (await api.send("GET", "/me", key=None, headers={"X-API-Key": ADMIN})).status_code == 200
    assert (await api.send("GET", f"/me?api_key={ADMIN}", key=None)).status_code == 401


async def test_wrong_keys_are_limited_and_right_ones_are_not(api: Managed) -> None:
    answers = [await api.send("GET", "/me", key="sk_mt_wrong") for _ in range(25)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await api.get("/me"))["role"] == "admin"


async def test_a_wrong_key_costs_no_query(api: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    from metamcp_asgi.store.repository import Store

    def read(store: Store) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(Store, "read", read)
    assert (await api.send("GET", "/me", key="sk_mt_wrong")).status_code == 401
    assert (await api.send("GET", "/me")).status_code == 500


async def test_foreign_pages_and_malformed_hosts_are_refused(api: Managed) -> None:
    for status, headers in ((403, {"Origin": "https://evil.example"}), (400, {"Host": "a b"})):
        for path in ("/me", "/openapi.json"):
            answer = await api.send("GET", path, headers=headers)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == status
            assert next(iter(headers)) in answer.json()["detail"]
    assert (await api.send("GET", "/me", headers={"Origin": f"http://127.0.0.1:{api.port}"})).status_code == 200


async def test_a_member_manages_their_own_and_only_sees_what_is_public(api: Managed) -> None:
    public = await api.make("/servers", {"name": "public", "url": NOWHERE, "ownerId": None})
    private = await api.make("/servers", {"name": "private", "url": NOWHERE})
    own = await api.make("/servers", {"name": "own", "url": NOWHERE}, key=MEMBER)
    assert own["ownerId"] == api.ids["mel"]
    assert [item["name"] for item in (await api.get("/servers", key=MEMBER))["items"]] == ["own", "public"]
    assert (await api.send("GET", f"/servers/{private['id']}", key=MEMBER)).status_code == 404
    assert (await api.send("PATCH", f"/servers/{private['id']}", {}, key=MEMBER, match="*")).status_code == 404
    for method, path in (("PATCH", ""), ("DELETE", "")):
        body = {} if method == "PATCH" else None
        answer = await api.send(method, f"/servers/{public['id']}{path}", body, key=MEMBER, match="*")
        assert answer.status_code == 403
    assert (await api.send("POST", f"/servers/{public['id']}/reset", key=MEMBER)).status_code == 403
    assert (await api.change(f"/servers/{own['id']}", {"description": "mine"}, key=MEMBER))["description"] == "mine"

    for path, body in (
        ("/servers", {"name": "shell", "command": "sh"}),
        ("/servers", {"name": "for-all", "url": NOWHERE, "ownerId": None}),
        ("/users", {"email": "x@example.com", "password": "a long password"}),
        ("/keys", {"name": "managing 2", "admin": True}),
    ):
        assert (await api.send("POST", path, body, key=MEMBER)).status_code == 403, path
    for path in ("/settings", "/audit", "/servers?secrets=include", f"/servers/{own['id']}?secrets=include"):
        assert (await api.send("GET", path, key=MEMBER)).status_code == 403, path
    assert [user["email"] for user in (await api.get("/users", key=MEMBER))["items"]] == ["mel@example.com"]
    assert {server["name"] for server in (await api.get("/health", key=MEMBER))["servers"]} == {"own", "public"}


@pytest.mark.parametrize("error", [RuntimeError("a defect"), Problem(422, "Too late.")])
async def test_an_answer_that_has_begun_is_cut_off_and_not_followed_by_another(error: Exception) -> None:
    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            await send({"type": "http.response.body", "body": b"half of", "more_body": True})
        raise error

    async with served(Answering(half), "off") as port, httpx2.AsyncClient(timeout=20) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(f"http://127.0.0.1:{port}/begun")
        whole = await http.get(f"http://127.0.0.1:{port}/")
        assert whole.headers["content-type"] == "application/problem+json"
        assert "defect" not in whole.text


async def test_a_page_of_an_allowed_origin_may_manage(api: Managed) -> None:
    origin = {"Origin": "http://localhost:5173"}
    made = await api.send("POST", "/servers", {"name": "web", "url": NOWHERE}, headers=origin)
    assert made.headers["access-control-allow-origin"] == origin["Origin"]
    exposed = made.headers["access-control-expose-headers"].lower().split(", ")
    assert {"etag", "link", "location", "retry-after", "www-authenticate", "mcp-session-id"} <= set(exposed)
    for method in ("PATCH", "DELETE"):
        asked = {
            **origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type,if-match",
        }
        answer = await api.send("OPTIONS", f"/servers/{made.json()['id']}", key=None, headers=asked)
        assert answer.status_code == 200
        assert method in answer.headers["access-control-allow-methods"]
        assert "if-match" in answer.headers["access-control-allow-headers"]
