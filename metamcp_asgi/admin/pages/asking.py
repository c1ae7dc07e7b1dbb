"""What the pages of all areas read of a request: what was just done, what a list is asked for, who may change what."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from metamcp_asgi.signin.people import person
from metamcp_asgi.store.policy import may_change

__all__ = ["asked_of", "changeable", "notice_of"]


def asked_of(request: Request, *names: str) -> dict[str, str]:
    """Return these query parameters of a page; of those that it does not have, empty texts.

    ``Desk.ask`` takes them as they are.
    """
    return {name: request.query_params.get(name, "").strip() for name in names}


def notice_of(request: Request, notices: Mapping[str, str]) -> str:
    """Return what a page says was done.

    Args:
        request: The request, to which ``to(..., done=...)`` has led.
        notices: The texts by what was done.
    """
    return notices.get(request.query_params.get("done", ""), "")


def changeable(scope: Scope, owned: Any) -> bool:
    """Tell whether who is signed in may change something that has an ``owner_id``."""
    return may_change(person(scope).acting, owned)
