"""Another application beside the endpoints, below a path of its own.

Knows nothing of what it serves.
"""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Beside"]


class Beside:
    """Serve what lies below ``prefix`` by another application, if there is one at the time, and the rest as before.

    Args:
        app: The application inside.
        prefix: A path such as ``/api/v1``.
        other: Gives the other application; gets the scope as it is.
    """

    def __init__(self, app: ASGIApp, prefix: str, other: Callable[[], ASGIApp | None]) -> None:
        self.app = app
        self._prefix = prefix
        self._below = prefix + "/"
        self._other = other

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; a plain call, which costs no coroutine of its own."""
        path: str = scope["path"]
        root = scope.get("root_path", "")
        # As in ``NamespaceRouter``: some hosts leave the mount point out of the path.
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        if path.startswith(self._below) or path == self._prefix:
            other = self._other()
            if other is not None:
                return other(scope, receive, send)
        return self.app(scope, receive, send)
