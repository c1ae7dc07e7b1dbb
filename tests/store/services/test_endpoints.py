"""What people do with endpoints, on both kinds of database."""

import uuid
from typing import Any

import pytest

from metamcp_asgi.store.errors import Duplicate
from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services import endpoints
from metamcp_asgi.store.services.inputs import (
    ClientRateLimitInput,
    EndpointChanges,
    Invalid,
    NewEndpoint,
    RateLimitInput,
)
from tests.store.services.people import People


async def test_an_endpoint_needs_a_key_unless_it_says_otherwise(people: People) -> None:
    namespace = await people.namespace(people.bob, "n")
    row = await people.endpoint(people.bob, "e", namespace, description="Mine")
    assert (row.api_key_auth, row.query_param_auth, row.owner_id) == (True, False, people.bob.id)
    changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(api_key_auth=False))
    assert (changed.api_key_auth, changed.description, changed.version) == (False, "Mine", 2)


async def test_limits_are_set_and_taken_away(people: People) -> None:
    namespace = await people.namespace(people.bob, "n")
    limit = RateLimitInput(max_rate=5, max_rate_seconds=60)
    each = ClientRateLimitInput(max_rate=1, max_rate_seconds=1, strategy="header", header="X-Client")
    row = await people.endpoint(people.bob, "e", namespace, rate_limit=limit, client_rate_limit=each)
    assert (row.max_rate, row.max_rate_seconds) == (5, 60.0)
    assert (row.client_max_rate_strategy, row.client_max_rate_header) == ("header", "x-client")
    changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(name="f", rate_limit=None))
    assert (changed.max_rate, changed.client_max_rate, changed.name) == (None, 1, "f")
    by_principal = ClientRateLimitInput(max_rate=3, max_rate_seconds=1, strategy="principal")
    given = EndpointChanges(client_rate_limit=by_principal)
    changed = await people.do(endpoints.update, people.bob, row.id, given)
    assert (changed.client_max_rate_strategy, changed.client_max_rate_header) == ("principal", None)
    changed = await people.do(endpoints.update, people.bob, row.id, EndpointChanges(description="kept"))
    assert (changed.client_max_rate, changed.client_max_rate_strategy) == (3, "principal")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"rate_limit": RateLimitInput(max_rate=0, max_rate_seconds=1)}, "rateLimit.maxRate"),
        ({"rate_limit": RateLimitInput(max_rate=2**31, max_rate_seconds=1)}, "rateLimit.maxRate"),
        (
            {"client_rate_limit": ClientRateLimitInput(max_rate=1, max_rate_seconds=1, strategy="header")},
            "clientRateLimit",
        ),
        ({"namespace_id": uuid.uuid4()}, "namespaceId"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_a_file_would_not_accept_is_named(people: People, given: Any, field: str) -> None:
    namespace = await people.namespace(people.bob, "n")
    with pytest.raises(Invalid) as refused:
        await people.do(
            endpoints.create, people.bob, NewEndpoint(**({"name": "e", "namespace_id": namespace.id} | given))
        )
    assert refused.value.field == field


async def test_a_public_endpoint_publishes_a_public_namespace_only(people: People) -> None:
    private = await people.namespace(people.ada, "private")
    public = await people.namespace(people.ada, "public", owner_id=None)
    with pytest.raises(Forbidden) as refused:
        await people.endpoint(people.ada, "e", private, owner_id=None)
    assert refused.value.rule == "public-of-public"
    row = await people.endpoint(people.ada, "e", public, owner_id=None)
    with pytest.raises(Forbidden):
        await people.do(endpoints.update, people.ada, row.id, EndpointChanges(namespace_id=private.id))
    assert (await people.endpoint(people.bob, "own", public)).owner_id == people.bob.id


async def test_nobody_publishes_somebody_elses_namespace(people: People) -> None:
    namespace = await people.namespace(people.eve, "n")
    with pytest.raises(Invalid, match="does not exist") as refused:
        await people.endpoint(people.bob, "e", namespace)
    assert refused.value.field == "namespaceId"


async def test_names_are_unique_among_all(people: People) -> None:
    await people.endpoint(people.eve, "e", await people.namespace(people.eve, "n"))
    with pytest.raises(Duplicate):
        await people.endpoint(people.bob, "e", await people.namespace(people.bob, "n"))
