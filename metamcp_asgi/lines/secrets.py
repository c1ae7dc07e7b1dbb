"""The last sieve before a line is written: what looks like a secret is not.

No part of the gateway logs a secret on purpose. But exceptions of libraries quote what they were given, and one day
somebody will log a header. Patterns find what has the form of a secret, and no more than that. Servers
write lines, too: no pattern may take long, whatever the line, so none reads a run anew from every character of it.
"""

import re
from typing import Final

__all__ = ["hidden"]

_HIDDEN: Final = "***"
_QUOTE: Final = r"""\\?["']"""
_SECRET_HEADER: Final = r"(?:proxy-)?authorization|x-api-key|cookie|set-cookie|mcp-session-id"
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<kept>://)[^\s/@\"'<>\\]+(?=@)",
        r"(?i)(?P<kept>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}",
        r"(?P<kept>\b(?:sk_mt_|sk-|mcp_(?:token|code|client|secret|refresh)_))[A-Za-z0-9_-]{8,}",
        r"(?P<kept>(?<![\w-]))eyJ[A-Za-z0-9_-]{8,1000}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"(?i)(?P<kept>[?&](?:api_?key|(?:access_|refresh_|id_)?token|code|client_secret|password|secret|"
        r"sessionid|state|sig|signature)=)[^&\s\"'\\]+",
        rf"(?i)(?P<kept>{_QUOTE}(?:{_SECRET_HEADER}){_QUOTE}\s*[,:]\s*b?{_QUOTE})[^\"'\\]+",
        r"(?P<kept>\b[A-Z0-9_]*(?:TOKEN|SECRET|SECRET_KEYS|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)=)[^\s\"'\\]+",
    )
)


def hidden(line: str) -> str:
    """Return a line without what looks like a secret: passwords in URLs, keys, tokens, cookies."""
    for pattern in _PATTERNS:
        line = pattern.sub(rf"\g<kept>{_HIDDEN}", line)
    return line
