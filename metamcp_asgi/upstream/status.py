"""HTTP statuses of servers that are not answers of MCP, as errors that tell the operator what to do."""

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.http1 import Response

__all__ = ["refusal"]

_ADVICE = {
    401: "wants other credentials; check its headers or bearerToken",
    403: "forbids access; check its headers or bearerToken",
    404: "has no MCP endpoint at this URL",
    405: "does not take this method at this URL",
    407: "is behind a proxy that wants credentials",
    429: "is limiting our rate",
}


def refusal(response: Response) -> UpstreamUnavailable:
    """Return the error that a response stands for which is not MCP.

    The response's body is left out: it is somebody else's text and may hold anything.
    """
    status = response.status
    if 300 <= status < 400:
        advice = "redirects, which is not followed; configure the final URL"
    else:
        advice = _ADVICE.get(status, "answered with something that is not MCP" if status < 500 else "has failed")
    return UpstreamUnavailable(f"{advice} (HTTP {status})", sent=True)
