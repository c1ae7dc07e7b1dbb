"""Resource URIs as an endpoint publishes them: unchanged while unique, reversible where two servers clash.

A clash gives ``server+scheme://...``; hosts insist on the scheme ``ui``, so there it is ``ui://server+...``
(eras.md 2.14). Server names never contain ``+``.
"""

import re
from typing import Final

__all__ = ["qualify", "template_pattern", "unqualify"]

_UI: Final = "ui://"
_EXPRESSION: Final = re.compile(r"(?:\{[^{}]*\})+")
_OPERATOR: Final = re.compile(r"\{([+#./;?&]?)")
# What the expansions of each RFC 6570 operator cannot contain, each in what the one before it cannot. A simple
# expansion percent-encodes every reserved character.
_NOT_IN: Final = ("/?#&=", "/?#", "?#", "#", "")
_WIDTH: Final = {"": 0, ".": 1, "/": 2, ";": 3, "?": 3, "&": 3, "+": 4, "#": 4}


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

    It is generous: the pattern chooses a server, it does not validate. And it takes time in proportion to the URI,
    because the template is a server's and the URI a client's: every expansion but the last ends, for good, where the
    literal after it is first found. Nothing is lost by that: either the literal has a character that the expansion
    cannot have, so it fits nowhere else, or the next expansion is made wide enough to take in what this one gave up.
    """
    gaps = list(_EXPRESSION.finditer(template))
    pattern = [re.escape(template[: gaps[0].start()] if gaps else template)]
    width = -1
    for number, gap in enumerate(gaps, 1):
        operators = _OPERATOR.findall(gap[0])
        width = max(width, *(_WIDTH[operator] for operator in operators))
        expansion = f"[^{_NOT_IN[width]}]*" if _NOT_IN[width] else r"[\s\S]*"
        literal = template[gap.end() : gaps[number].start() if number < len(gaps) else None]
        if number == len(gaps):
            pattern.append(expansion + re.escape(literal))
        else:
            pattern.append(f"(?>{expansion}?{re.escape(literal)})")
        if set(literal) & set(_NOT_IN[width]):
            width = -1
    return re.compile("".join(pattern))
