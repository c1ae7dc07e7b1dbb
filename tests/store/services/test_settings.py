"""What people do with settings, on both kinds of database."""

from typing import Any

import pytest

from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services import settings
from metamcp_asgi.store.services.inputs import Invalid
from tests.store.services.people import People


async def test_settings_are_for_admins_and_have_defaults(people: People) -> None:
    async with people.store.read() as tx:
        known = await settings.all_(tx, people.ada)
        assert {name for name, on in known.items() if on} == {"allowPasswordSignIn"}
        with pytest.raises(Forbidden):
            await settings.all_(tx, people.bob)
    with pytest.raises(Forbidden):
        await people.do(settings.change, people.bob, {"membersMayCreateStdio": True})
    after = await people.do(settings.change, people.ada, {"allowSignup": True})
    assert (after["allowSignup"], after["membersMayCreateStdio"]) == (True, False)


@pytest.mark.parametrize("given", [{"allowSignups": True}, {"allowSignup": "yes"}])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_is_no_setting_is_named(people: People, given: Any) -> None:
    with pytest.raises(Invalid) as refused:
        await people.do(settings.change, people.ada, given)
    assert refused.value.field in given
