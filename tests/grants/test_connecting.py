"""A person connects a server that asks for OAuth, and the gateway uses what they agreed to."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from metamcp_asgi.bus.memory import MemoryBus
from metamcp_asgi.config import snapshot
from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants import rows
from metamcp_asgi.grants.book import Book
from metamcp_asgi.grants.connect import Connecting
from metamcp_asgi.grants.fetch import GrantError, Outward
from metamcp_asgi.grants.registration import Client, Ourselves, client_for
from metamcp_asgi.grants.rows import StoredLedger
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.store.models import Server, User
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.upstream.granted import AuthorizationNeeded
from tests.databases import SECRET, opened
from tests.grants.authorizing import Authorizing, authorizing

OURSELVES = Ourselves("http://127.0.0.1:12008/fe-oauth/callback")


class Side:
    """What the gateway has for one server that asks for OAuth."""

    def __init__(self, provider: Authorizing, store: Store, fetch: Outward) -> None:
        self.provider = provider
        self.store = store
        self.now = 0.0
        self.bus = MemoryBus()
        self.book = self.new_book(fetch)
        self.connecting = Connecting(self.opened, self.book, self.bus, KeyRing((SECRET,)), clock=self.clock)
        self.ada: Acting
        self.server: uuid.UUID

    def clock(self) -> float:
        return time.time() + self.now

    async def opened(self) -> Store:
        return self.store

    def new_book(self, fetch: Outward) -> Book:
        """What another process has."""
        book = Book(fetch, OURSELVES, self.bus, clock=self.clock)
        book.ledgers = lambda spec, user: StoredLedger(self.opened, self.bus, spec, user)
        book.page = lambda key: f"http://127.0.0.1:12008/oauth/connect/{key}"
        return book

    def config(self, per: snapshot.GrantOwner = "server", url: str | None = None) -> snapshot.Server:
        return snapshot.Server(
            name="a",
            type="streamable_http",
            url=url or self.provider.url,
            grant=GrantSpec(key=str(self.server), per=per),
        )

    async def connect(self, *, own: bool = False, who: Acting | None = None) -> None:
        acting = who or self.ada
        departure = await self.connecting.depart(acting, self.server, own=own)
        await self.connecting.arrive(acting, departure.browser, await agree(departure.url))


async def agree(url: str) -> dict[str, str]:
    """Goes to the authorization server, as a browser does, and returns the query with which it is sent back."""
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(url)
    assert answer.status_code == 302, answer.text
    location = answer.headers["location"]
    assert location.startswith(OURSELVES.redirect_uri)
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


@contextlib.asynccontextmanager
async def begun(folder: Path) -> AsyncIterator[Side]:
    fetch = Outward(Guard(["127.0.0.1"]))
    store = await opened(f"sqlite:///{folder}/a.db")
    async with authorizing() as provider:
        side = Side(provider, store, fetch)
        async with store.write(SYSTEM) as tx:
            user = await tx.add(User(email="ada@example.com", role="admin"))
            server = await tx.add(Server(name="a", type="streamable_http", url=provider.url))
            side.ada = Acting(user.id, user.email, "admin")
            side.server = server.id
        try:
            yield side
        finally:
            await fetch.aclose()
            await store.aclose()


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with begun(tmp_path) as made:
        yield made


async def accepted(side: Side, line: bytes) -> bool:
    """Tells whether the server takes a header line for a token of its own."""
    name, _, value = line.decode().strip().partition(": ")
    async with httpx2.AsyncClient() as client:
        answer = await client.post(side.provider.url, headers={name: value} if name else {}, content=b"{}")
    return answer.status_code != 401


async def test_who_agrees_gives_all_processes_a_token_that_the_server_takes(side: Side) -> None:
    told: list[str] = []
    side.book.changed = told.append
    grant = side.book.of(side.config())
    assert grant is not None
    assert await grant.line() == b""
    await side.connect()
    assert told == [str(side.server)]
    line = await grant.line()
    assert line.startswith(b"Authorization: Bearer ")
    assert await accepted(side, line)
    other = side.new_book(side.book.fetch).of(side.config())
    assert other is not None
    assert await other.line() == line


async def test_check_93_the_token_is_asked_for_the_server_with_pkce_and_for_what_it_says_to_need(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    query = parse_qs(urlsplit(departure.url).query)
    assert query["resource"] == [side.provider.url]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["use"]
    assert query["redirect_uri"] == [OURSELVES.redirect_uri]
    await side.connecting.arrive(side.ada, departure.browser, await agree(departure.url))
    assert side.provider.asked[-1].resource == side.provider.url
    [posted] = [parse_qs(body.decode()) for body in side.provider.posted if body]
    assert posted["resource"] == [side.provider.url]
    assert posted["code_verifier"]


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"code_challenge_methods_supported": None}, "PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"issuer": "https://evil.example"}, "metadata of another issuer"),
        ({"authorization_response_iss_parameter_supported": True}, "does not say who it is"),
    ],
)
async def test_check_93_an_authorization_server_that_proves_too_little_is_refused(
    side: Side, says: dict[str, Any], reason: str
) -> None:
    side.provider.says = says
    with pytest.raises(GrantError, match=reason):
        await side.connect()
    assert side.provider.seen["exchanged"] == 0


async def test_we_register_once_for_all_who_connect(side: Side) -> None:
    await side.connect()
    await side.connect()
    assert side.provider.seen["registered"] == 1
    assert side.provider.seen["exchanged"] == 2


async def test_an_answer_is_good_once_for_who_asked_in_the_browser_that_asked(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    answer = await agree(departure.url)
    eve = Acting(uuid.uuid4(), "eve@example.com", "admin")
    for acting, browser, query in (
        (side.ada, "another", answer),
        (eve, departure.browser, answer),
        (side.ada, departure.browser, {**answer, "state": answer["state"][:-2] + "AA"}),
        (side.ada, departure.browser, {"code": answer["code"]}),
    ):
        with pytest.raises(GrantError, match="not asked here"):
            await side.connecting.arrive(acting, browser, query)
    await side.connecting.arrive(side.ada, departure.browser, answer)
    with pytest.raises(GrantError, match="a second time"):
        await side.connecting.arrive(side.ada, departure.browser, answer)
    assert side.provider.seen["exchanged"] == 1


async def test_an_answer_is_good_for_ten_minutes(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    answer = await agree(departure.url)
    side.now = 601.0
    with pytest.raises(GrantError, match="too long ago"):
        await side.connecting.arrive(side.ada, departure.browser, answer)


async def test_check_93_an_answer_of_another_issuer_is_not_looked_at(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    answer = await agree(departure.url)
    query = {**answer, "iss": "https://evil.example", "error": "oops", "error_description": "call me"}
    with pytest.raises(GrantError, match="another authorization server") as caught:
        await side.connecting.arrive(side.ada, departure.browser, query)
    assert "oops" not in str(caught.value)
    assert side.provider.seen["exchanged"] == 0


async def test_a_person_who_declines_is_told_so(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    state = parse_qs(urlsplit(departure.url).query)["state"][0]
    with pytest.raises(GrantError, match="access_denied"):
        await side.connecting.arrive(side.ada, departure.browser, {"state": state, "error": "access_denied"})


async def test_a_token_is_refreshed_before_its_end_by_one_of_many(side: Side) -> None:
    await side.connect()
    books = [side.new_book(side.book.fetch) for _ in range(4)]
    grants = [book.of(side.config()) for book in books]
    before = {await grant.line() for grant in grants if grant is not None}
    assert len(before) == 1
    side.now = 3600 - 29.0
    after = set(await asyncio.gather(*(grant.line() for grant in grants if grant is not None for _ in range(3))))
    assert len(after) == 1
    assert not before & after
    assert side.provider.seen == {"registered": 1, "exchanged": 1, "refreshed": 1}


async def test_what_is_forgotten_while_it_is_refreshed_is_not_used_any_more(side: Side) -> None:
    await side.connect()
    grant = side.book.of(side.config())
    assert grant is not None
    assert await accepted(side, await grant.line())

    async def forgotten() -> None:
        async with side.store.write(side.ada) as tx:
            assert await rows.forget(tx, side.server, None)
        side.book.read_again()

    side.provider.meanwhile = forgotten
    side.now = 3600
    assert await grant.line() == b""


async def test_a_token_that_is_refused_is_refreshed_and_what_was_taken_back_takes_a_person(side: Side) -> None:
    await side.connect()
    grant = side.book.of(side.config())
    assert grant is not None
    line = await grant.line()
    side.provider.end_access()
    await grant.refused(line, 401, "")
    newer = await grant.line()
    assert newer != line
    assert await accepted(side, newer)
    side.provider.end_all()
    with pytest.raises(AuthorizationNeeded, match="wants to be authorized again") as caught:
        await grant.refused(newer, 401, "")
    assert caught.value.page == f"http://127.0.0.1:12008/oauth/connect/{side.server}"
    # The refresh token was no good, so it is not tried a second time.
    assert await grant.line() == b""
    with pytest.raises(AuthorizationNeeded):
        await grant.refused(b"", 401, "")
    assert side.provider.seen["refreshed"] == 1


async def test_tokens_go_to_no_other_url_than_the_one_that_they_were_given_for(side: Side) -> None:
    await side.connect()
    moved = side.book.of(side.config(url="http://127.0.0.1:9/mcp"))
    assert moved is not None
    assert await moved.line() == b""


async def test_what_a_tool_needs_besides_is_asked_for_the_next_time(side: Side) -> None:
    await side.connect()
    grant = side.book.of(side.config())
    assert grant is not None
    with pytest.raises(AuthorizationNeeded, match="further permissions"):
        await grant.refused(await grant.line(), 403, 'Bearer error="insufficient_scope", scope="more"')
    departure = await side.connecting.depart(side.ada, side.server)
    assert parse_qs(urlsplit(departure.url).query)["scope"] == ["use more"]


async def test_each_user_has_a_grant_of_their_own(side: Side) -> None:
    async with side.store.write(side.ada) as tx:
        row = await tx.get(Server, side.server)
        row.oauth = {"flow": "authorization_code", "grant": "user"}
        bob = await tx.add(User(email="bob@example.com", role="member"))
    member = Acting(bob.id, bob.email, "member")
    await side.connect(own=True, who=member)
    config = side.config("user")
    lines: dict[str | None, bytes] = {}
    for user in (None, str(bob.id), str(side.ada.id)):
        grant = side.book.of(config, user)
        assert grant is not None
        lines[user] = await grant.line()
    assert lines[None] == lines[str(side.ada.id)] == b""
    assert await accepted(side, lines[str(bob.id)])
    async with side.store.write(member) as tx:
        assert await rows.forget(tx, side.server, bob.id)
    side.book.read_again()
    grant = side.book.of(config, str(bob.id))
    assert grant is not None
    assert await grant.line() == b""


async def test_nothing_of_a_grant_lies_in_the_database_in_clear(side: Side, tmp_path: Path) -> None:
    await side.connect()
    async with side.store.read() as tx:
        found = await rows.read(tx, side.server, None)
    assert found.tokens is not None
    assert found.client is not None
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs
    for secret in (found.tokens.access, found.tokens.refresh, found.client.secret):
        assert secret
        assert secret.encode() not in content
    assert found.tokens.access not in repr(found)


async def test_a_private_address_is_not_asked_unless_it_is_allowed(side: Side) -> None:
    book = Book(Outward(Guard()), OURSELVES, side.bus)
    refused = Connecting(side.opened, book, side.bus, KeyRing((SECRET,)))
    with pytest.raises(GrantError, match="METAMCP_OUTWARD_ALLOWED"):
        await refused.depart(side.ada, side.server)
    await book.aclose()


async def test_each_who_waits_for_a_grant_that_has_ended_is_told_for_itself(side: Side) -> None:
    await side.connect()
    grant = side.book.of(side.config())
    assert grant is not None
    line = await grant.line()
    side.provider.end_all()
    told = await asyncio.gather(*(grant.refused(line, 401, "") for _ in range(3)), return_exceptions=True)
    # Whoever gets one puts the name of its server in front.
    assert len({id(error) for error in told}) == 3
    assert all(isinstance(error, AuthorizationNeeded) and error.page for error in told)
    assert side.provider.seen["reused"] == 0


async def test_an_answer_is_not_taken_for_a_server_that_was_moved_meanwhile(side: Side) -> None:
    departure = await side.connecting.depart(side.ada, side.server)
    answer = await agree(departure.url)
    async with side.store.write(side.ada) as tx:
        (await tx.get(Server, side.server)).url = "https://evil.example/mcp"
    with pytest.raises(GrantError, match="configured otherwise"):
        await side.connecting.arrive(side.ada, departure.browser, answer)
    assert side.provider.seen["exchanged"] == 0


async def test_who_connects_for_themselves_leaves_everybodys_grant_as_it_is(side: Side) -> None:
    async with side.store.write(side.ada) as tx:
        (await tx.get(Server, side.server)).oauth = {"flow": "authorization_code", "grant": "user"}
    await side.connect()
    async with side.store.read() as tx:
        before = await rows.read(tx, side.server, None)
    await side.connect(own=True)
    async with side.store.read() as tx:
        assert await rows.read(tx, side.server, None) == before
        assert (await rows.read(tx, side.server, side.ada.id)).client != before.client


async def test_a_registered_secret_goes_to_no_other_issuer_than_before(side: Side) -> None:
    found = await side.connecting.look(side.ada, side.server)
    given = Client("", "ours", "secret")
    known = Client("https://before.example", "ours", "secret")
    with pytest.raises(GrantError, match="not, as before, by https://before"):
        await client_for(side.book.fetch, found.issuer, OURSELVES, given=given, known=known, scope=None, now=0.0)


async def test_a_new_grant_waits_for_who_refreshes_the_one_before(side: Side) -> None:
    await side.connect()
    ledger = StoredLedger(side.opened, side.bus, GrantSpec(key=str(side.server)), None)
    async with ledger.lock():
        before = await ledger.read()
        change = asyncio.create_task(side.connect())
        # As another process does that got the last answer of the authorization server to the old grant.
        done, _ = await asyncio.wait({change}, timeout=0.5)
        assert not done
        await ledger.refreshed(before)
    async with asyncio.timeout(20):
        await change
    assert (await ledger.read()).tokens != before.tokens


async def test_what_localhost_means_to_a_container_is_what_a_grant_is_for(side: Side) -> None:
    async with side.store.write(side.ada) as tx:
        (await tx.get(Server, side.server)).url = "http://localhost:9/mcp"
    book = Book(Outward(Guard(["*.docker.internal"])), OURSELVES, side.bus)
    inside = Connecting(side.opened, book, side.bus, KeyRing((SECRET,)), transform_localhost=True)
    with pytest.raises(GrantError, match=r"host\.docker\.internal"):
        await inside.depart(side.ada, side.server)
    await book.aclose()
