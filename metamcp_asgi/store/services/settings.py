"""The settings of the whole gateway, which admins change; all have a default, so that none needs a row."""

from collections.abc import Mapping
from typing import Any, Final

from metamcp_asgi.store.models import Setting
from metamcp_asgi.store.policy import Acting, Rules, check_admin
from metamcp_asgi.store.services.inputs import Invalid
from metamcp_asgi.store.transaction import Reader, Writer

__all__ = ["KNOWN", "all_", "change", "rules", "switches"]

KNOWN: Final[Mapping[str, bool]] = {
    "membersMayCreateStdio": False,
    "membersMayCreatePublic": False,
    "allowSignup": False,
    "allowSsoSignup": False,
    "allowPasswordSignIn": True,
}
"""Every setting with its default; all are true or false."""


async def all_(tx: Reader, acting: Acting) -> dict[str, Any]:
    """Return every setting by its name.

    Raises:
        Forbidden: Not an admin.
    """
    check_admin(acting, "settings")
    return await _values(tx)


async def change(tx: Writer, acting: Acting, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change some settings, and return all of them.

    Args:
        tx: The transaction.
        acting: Who changes them.
        values: New values by name; ``None`` is the default again.

    Raises:
        Forbidden: Not an admin.
        Invalid: There is no such setting, or it is of another type.
    """
    check_admin(acting, "settings")
    for name, value in values.items():
        if name not in KNOWN:
            raise Invalid(name, f"is not a setting; there are {', '.join(KNOWN)}")
        if value is not None and not isinstance(value, bool):
            raise Invalid(name, "must be true or false, or null for its default")
    for name, value in values.items():
        row = await tx.find(Setting, key=name)
        if value is None:
            if row is not None:
                await tx.delete(row)
        elif row is None:
            await tx.add(Setting(key=name, value=value))
        elif row.value != value:
            row.value = value
    await tx.flush()
    return await _values(tx)


async def rules(tx: Reader) -> Rules:
    """Return what the settings let members do."""
    values = await _values(tx)
    return Rules(
        members_may_create_stdio=values["membersMayCreateStdio"],
        members_may_create_public=values["membersMayCreatePublic"],
    )


async def switches(tx: Reader) -> Mapping[str, bool]:
    """Return every setting by its name, for what the gateway itself decides by them."""
    return await _values(tx)


async def _values(tx: Reader) -> dict[str, Any]:
    rows = await tx.list(Setting, Setting.key.in_(list(KNOWN)))
    return {**KNOWN, **{row.key: row.value for row in rows}}
