"""Other applications beside the endpoints, each below a path of its own.

Knows nothing of what they serve.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Beside"]


class Beside:
    """Serve what lies below the path of a site by that site, and the rest as before.

    Args:
        app: The application inside.
        sites: Gives the sites of the time by their paths: ``/api/v1``. Each gets the scope as it is. Where the paths
            of two sites match, the longer one wins.
    """

    def __init__(self, app: ASGIApp, sites: Callable[[], Mapping[str, ASGIApp]]) -> None:
        self.app = app
        self._sites = sites

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; a plain call, which costs no coroutine of its own."""
        path: str = scope["path"]
        # Nearly every request is for an endpoint, and no site lies among them.
        if path.startswith("/metamcp/"):
            return self.app(scope, receive, send)
        root = scope.get("root_path", "")
        # As in ``NamespaceRouter``: some hosts leave the mount point out of the path.
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        sites = self._sites()
        while path:
            if (site := sites.get(path)) is not None:
                return site(scope, receive, send)
            path = path.rpartition("/")[0]
        return self.app(scope, receive, send)
