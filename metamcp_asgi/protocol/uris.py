"""Resource URIs as an endpoint publishes them: unchanged while unique, reversible where two servers clash.

A clash gives ``server+scheme://...``; hosts insist on the scheme ``ui``, so there it is ``ui://server+...``
(eras.md 2.14). Server names never contain ``+``.
"""

import re
from typing import Final

__all__ = ["qualify", "template_pattern", "unqualify"]

_UI: Final = "ui://"
_EXPRESSION: Final = re.compile(r"\{([+#./;?&]?)[^{}]*\}")
# What each RFC 6570 operator can expand to. A simple expansion percent-encodes every reserved character.
_EXPANSION: Final = {"": r"[^/?#&=]*", "+": r".*", "#": r"(?:#.*)?", ".": r"(?:\.[^/?#]*)?", "/": r"(?:/[^?#]*)?"}


def qualify(server: str, uri: str) -> str:
    """Return the published form of a URI (or URI template) that more than one server offers."""
    return f"{_UI}{server}+{uri[len(_UI) :]}" if uri.startswith(_UI) else f"{server}+{uri}"


def unqualify(uri: str) -> tuple[str, str] | None:
    """Return ``(server, uri)`` of a URI that ``qualify`` could have made, else ``None``."""
    prefix, rest = (_UI, uri[len(_UI) :]) if uri.startswith(_UI) else ("", uri)
    server, plus, tail = rest.partition("+")
    if not plus or not re.fullmatch(r"[a-zA-Z0-9_-]+", server):
        return None
    return server, prefix + tail


def template_pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of the URIs that a URI template (RFC 6570) can expand to.

    Reserved, fragment, label, path and query expansions are matched generously: the pattern chooses a
    server, it does not validate.
    """
    pattern, position = [], 0
    for expression in _EXPRESSION.finditer(template):
        pattern.append(re.escape(template[position : expression.start()]))
        pattern.append(_EXPANSION.get(expression[1], r"[^#]*"))
        position = expression.end()
    pattern.append(re.escape(template[position:]))
    return re.compile("".join(pattern))
