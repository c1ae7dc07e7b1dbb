"""The people of each test."""

import pytest

from metamcp_asgi.store.policy import COMMAND_LINE, Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import NewUser
from tests.store.services.people import People


@pytest.fixture
async def people(store: Store) -> People:
    actings = []
    async with store.write(COMMAND_LINE) as tx:
        for name in ("ada", "bob", "eve"):
            user = await users.create(tx, COMMAND_LINE, NewUser(email=f"{name}@example.org"))
            actings.append(Acting(user.id, user.email, user.role))
    return People(store, *actings)
