"""The seam through which layers get their data: a value, or a callable that gives the present one."""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["always"]

T = TypeVar("T")


def always(value: T) -> Callable[..., T]:
    """Return a callable that gives ``value`` whatever it is asked."""

    def give(*_: Any) -> T:
        return value

    return give
