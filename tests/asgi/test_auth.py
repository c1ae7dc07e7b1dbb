import hmac
import logging
from operator import itemgetter

import pytest
from msgspec.structs import replace

from metamcp_asgi.asgi.auth import Access, Authenticate
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Key, Principal, digest_of

from .driver import Inner, ask

GOOD = "sk_mt_" + "a1" * 32
ONE = "sk_mt_" + "b2" * 32
ADA = Principal(id="key:ada", kind="key", name="Ada")
BOB = Principal(id="key:bob", kind="key", name="Bob")
KEYS = {
    digest_of(GOOD): Key(digest_of(GOOD), ADA),
    digest_of(ONE): Key(digest_of(ONE), BOB, frozenset({"tools"})),
}


def without_stamp(answer):
    body = answer.json
    assert body.pop("timestamp").endswith("Z")
    return body


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": GOOD},
        {"Authorization": f"Bearer {GOOD}"},
        {"authorization": f"bearer  {GOOD}"},
        {"X-API-Key": GOOD, "Authorization": "Bearer wrong"},
        {"X-API-Key": "", "Authorization": f"Bearer {GOOD}"},
    ],
)
async def test_a_key_in_a_header_opens(headers):
    inner = Inner()
    assert (await ask(Authenticate(inner, KEYS), headers=headers)).status == 200
    assert inner.scopes[0]["metamcp.principal"] is ADA


@pytest.mark.parametrize(
    "query",
    [
        b"api_key=" + GOOD.encode(),
        b"apikey=" + GOOD.encode(),
        b"sessionId=7&api_key=" + GOOD.encode(),
        b"apikey=wrong&api_key=" + GOOD.encode(),
        b"api_key=&apikey=" + GOOD.encode(),
        b"api%5Fkey=" + GOOD.replace("_", "%5f").encode(),
    ],
)
async def test_a_key_in_the_query_opens_where_allowed(query):
    inner = Inner()
    allowed = Authenticate(inner, KEYS, Access(query_param_auth=True))
    assert (await ask(allowed, query=query)).status == 200
    assert inner.scopes[0]["query_string"] in (b"", b"sessionId=7")
    refused = await ask(Authenticate(inner, KEYS), query=query)
    assert (refused.status, refused.json["error"]) == (401, "authentication_required")


async def test_headers_go_before_the_query():
    app = Authenticate(Inner(), KEYS, Access(query_param_auth=True))
    answer = await ask(app, headers={"X-API-Key": "wrong"}, query=b"api_key=" + GOOD.encode())
    assert answer.json["error"] == "invalid_api_key"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic dTpw"}, {"Authorization": "Bearer "}])
async def test_no_key(headers):
    inner = Inner()
    answer = await ask(Authenticate(inner, KEYS, Access(query_param_auth=True)), headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="MetaMCP"'
    assert without_stamp(answer) == {
        "error": "authentication_required",
        "error_description": "Authentication required via API key",
        "supported_methods": ["X-API-Key header", "query parameter (api_key or apikey)"],
    }
    assert not inner.scopes


async def test_a_method_that_is_off_is_not_offered():
    assert (await ask(Authenticate(Inner(), KEYS))).json["supported_methods"] == ["X-API-Key header"]


async def test_a_wrong_key():
    answer = await ask(Authenticate(Inner(), KEYS), headers={"X-API-Key": GOOD[:-1]})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="MetaMCP"'
    assert without_stamp(answer) == {
        "error": "invalid_api_key",
        "error_description": "The provided API key is invalid or expired",
    }


async def test_a_key_for_other_endpoints():
    app = Authenticate(Inner(), KEYS, itemgetter("metamcp.endpoint"))
    tools, other = (Endpoint(name=name, namespace="n") for name in ("tools", "other"))
    assert (await ask(app, headers={"X-API-Key": ONE}, **{"metamcp.endpoint": tools})).status == 200
    answer = await ask(app, headers={"X-API-Key": ONE}, **{"metamcp.endpoint": other})
    assert answer.status == 403
    assert without_stamp(answer) == {
        "error": "Access denied",
        "message": "This API key does not open endpoint other.",
    }


async def test_an_open_endpoint_admits_anybody_and_hides_what_they_sent():
    inner = Inner()
    app = Authenticate(inner, KEYS, Access(api_key_auth=False))
    assert (await ask(app, headers={"Authorization": "Bearer x"}, query=b"api_key=y&z=1")).status == 200
    assert inner.scopes[0]["metamcp.principal"] == replace(ANONYMOUS, address="192.0.2.1")
    assert inner.scopes[0]["headers"] == []
    assert inner.scopes[0]["query_string"] == b"z=1"


async def test_the_key_reaches_neither_a_log_nor_the_application(caplog):
    caplog.set_level(logging.DEBUG)
    inner = Inner()
    app = Authenticate(inner, KEYS, Access(query_param_auth=True))
    secret = {"X-API-Key": GOOD, "Authorization": f"Bearer {GOOD}", "Accept": "*/*"}
    answer = await ask(app, headers=secret, query=b"a=1&api_key=" + GOOD.encode())
    assert answer.status == 200
    assert inner.scopes[0]["headers"] == [(b"accept", b"*/*")]
    assert GOOD not in repr(inner.scopes[0])
    assert GOOD.encode() not in answer.scope["query_string"], "the server would log it"
    await ask(app, headers={"X-API-Key": GOOD + "x"})
    await ask(app, query=b"api_key=x" + GOOD.encode())
    assert GOOD not in caplog.text


async def test_the_digests_are_compared_in_constant_time(monkeypatch):
    compared = []

    def spy(one, other):
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert (await ask(Authenticate(Inner(), KEYS), headers={"X-API-Key": GOOD})).status == 401
    assert compared == [(digest_of(GOOD), digest_of(GOOD))]


async def test_a_revoked_key_fails_from_the_next_request():
    present = KEYS
    app = Authenticate(Inner(), lambda: present)
    assert (await ask(app, headers={"X-API-Key": GOOD})).status == 200
    present = {}
    assert (await ask(app, headers={"X-API-Key": GOOD})).status == 401


async def test_guessing_is_throttled_and_a_good_key_never_is():
    now = 1000.0
    app = Authenticate(Inner(), KEYS, clock=lambda: now)
    wrong = [(await ask(app, headers={"X-API-Key": f"guess{n}"})).status for n in range(22)]
    assert wrong == [401] * 20 + [429] * 2
    throttled = await ask(app, headers={"X-API-Key": "guess"})
    assert throttled.headers["retry-after"] == "3"
    assert without_stamp(throttled)["error"] == "too_many_requests"
    assert (await ask(app, headers={"X-API-Key": GOOD})).status == 200
    assert (await ask(app)).status == 401, "a request without a key is no guess"
    assert (await ask(app, headers={"X-API-Key": "guess"}, client=("192.0.2.2", 1))).status == 401
    now += 3
    assert (await ask(app, headers={"X-API-Key": "guess"})).status == 401


async def test_guesses_count_per_endpoint():
    app = Authenticate(Inner(), KEYS, itemgetter("metamcp.endpoint"), clock=lambda: 0.0)
    one, two = (Endpoint(name=name, namespace="n") for name in ("one", "two"))
    for _ in range(21):
        last = await ask(app, headers={"X-API-Key": "guess"}, **{"metamcp.endpoint": one})
    assert last.status == 429
    assert (await ask(app, headers={"X-API-Key": "guess"}, **{"metamcp.endpoint": two})).status == 401


async def test_the_memory_of_guesses_is_bounded():
    app = Authenticate(Inner(), KEYS)
    for number in range(10_100):
        await ask(app, headers={"X-API-Key": "guess"}, client=(f"client{number}", 1))
    assert len(app._failures) == 10_000


async def test_a_client_without_an_address():
    assert (await ask(Authenticate(Inner(), KEYS), headers={"X-API-Key": "guess"}, client=None)).status == 401


async def test_whoever_wants_to_know_is_told_which_keys_are_used():
    used = []
    app = Authenticate(Inner(), KEYS, Access(name="tools"), used=used.append)
    for given in (GOOD, "sk_mt_wrong", ONE):
        await ask(app, headers={"X-API-Key": given})
    await ask(app)
    assert used == [digest_of(GOOD), digest_of(ONE)]
    elsewhere = Authenticate(Inner(), KEYS, Access(name="other"), used=used.append)
    assert (await ask(elsewhere, headers={"X-API-Key": ONE})).status == 403
    await ask(Authenticate(Inner(), KEYS, Access(api_key_auth=False), used=used.append), headers={"X-API-Key": GOOD})
    assert len(used) == 2
