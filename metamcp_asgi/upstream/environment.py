"""What a stdio child inherits: MetaMCP's short list of variables, and the configured ones on top.

Knows nothing of processes. The gateway's own secrets (database URL, keys, tokens) live in its environment, so a child
gets named variables only, never the whole of it.
"""

import os
from collections.abc import Iterable, Mapping

__all__ = ["INHERITED", "child_environment"]

INHERITED = (
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_FILE",
    "CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "REQUESTS_CERT_FILE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "UV_CERT",
    "PYTHONHTTPSVERIFY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""The variables a child inherits when the gateway has them; the same as MetaMCP's, so that its configurations work."""


def child_environment(
    configured: Mapping[str, str] | Iterable[tuple[str, str]] = (), environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the complete environment of a stdio child.

    Args:
        configured: The server's own variables; they win over inherited ones.
        environ: Where the inherited variables come from.
    """
    # A value that begins with "()" is a function exported by an old bash: code, not data (CVE-2014-6271).
    inherited = {name: environ[name] for name in INHERITED if name in environ and not environ[name].startswith("()")}
    return inherited | dict(configured)
