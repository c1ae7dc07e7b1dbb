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
_LEADS: Final = ("/", "?", "&", "#")


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
        if number == len(gaps):
            pattern.append(_last(operators, width) + re.escape(template[gap.end() :]))
            break
        literal = template[gap.end() : gaps[number].start()]
        width = max(width, *map(_WIDTH.__getitem__, operators))
        pattern.append(f"(?>{_any(width)}?{re.escape(literal)})")
        if set(literal) & set(_NOT_IN[width]):
            width = -1
    return re.compile("".join(pattern))


def _last(operators: list[str], width: int) -> str:
    """Return the pattern of expansions that nothing but a literal follows.

    They may be told apart: what begins with its operator, and comes after nothing that can contain it.
    """
    plain = [operator for operator in operators if operator not in _LEADS]
    leads = operators[len(plain) :]
    before = max(width, *map(_WIDTH.__getitem__, plain)) if plain else width
    pattern = _any(before) if before >= 0 else ""
    for lead in leads:
        if lead not in _LEADS or (before >= 0 and lead not in _NOT_IN[before]):
            return _any(max(width, *map(_WIDTH.__getitem__, operators)))
        before = max(before, _WIDTH[lead])
        pattern += f"(?:{re.escape(lead)}{_any(_WIDTH[lead])})?"
    return pattern


def _any(width: int) -> str:
    return f"[^{_NOT_IN[width]}]*" if _NOT_IN[width] else r"[\s\S]*"
