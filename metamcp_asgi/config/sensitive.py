"""Which texts of a server are, or may be, secrets: for what is written into files, and for what is shown to people.

Errs on the side of a secret: to hide what is none costs a variable, to show what is one costs a password.
"""

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "MASK",
    "Span",
    "in_args",
    "in_url",
    "masked",
    "masked_args",
    "masked_url",
    "plain_env",
    "plain_header",
    "plain_name",
]

MASK: Final = "***"

_SECRET_WORD: Final = re.compile(
    r"key|token|secret|passw|passphrase|passcode|credential|auth|signature|private|cookie|session|bearer"
    r"|(?:^|[-_])(?:pwd|pass|pat|sig|dsn|sid|code)(?:$|[-_])",
    re.IGNORECASE,
)
_PLAIN_ENV: Final = re.compile(r"|true|false|yes|no|on|off|\d{1,5}", re.IGNORECASE)
_PLAIN_HEADERS: Final = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})
_ASSIGNED: Final = re.compile(r"(?P<name>-{0,2}[A-Za-z][\w.-]*)=(?P<value>.+)", re.DOTALL)
_FLAG: Final = re.compile(r"--?[A-Za-z][\w.-]*")
_HEADER_ARG: Final = re.compile(r"(?P<name>[\w-]+):\s*(?P<value>.+)", re.DOTALL)
_ISSUED: Final = re.compile(
    r"(?:(?:sk|pk|rk|gh[a-z]|github_pat|glpat|xox[a-z])[-_]|(?:hf|npm|ntn|lin_api)_|AKIA|AIza|eyJ).*"
)
_RANDOM: Final = re.compile(r"(?=(?:[^0-9]*[0-9]){3})(?=.*[A-Za-z])[A-Za-z0-9_=~+-]{20,}")
_MIN_ISSUED: Final = 16
# What a member sends is searched here, at any length: no pattern reads a run anew from every character of it.
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_STEP: Final = re.compile(r"(?<=/)[^/?#]+")
_PARAMETER: Final = re.compile(r"(?<=[?&])([^=&#?]*)=([^&#]+)")


class Span(Struct, frozen=True):
    """A part of a text that is a secret.

    Args:
        start: Where it begins.
        end: Where it ends.
        label: What it is called there, such as the name of a flag.
    """

    start: int
    end: int
    label: str


def plain_name(name: str) -> bool:
    """Tell whether what has this name can't be told to be a secret by it."""
    return _SECRET_WORD.search(name) is None


def plain_env(name: str, value: str) -> bool:
    """Tell whether a variable's value can't be a secret: it is empty, a switch, or a short number."""
    return not value or (_SECRET_WORD.search(name) is None and _PLAIN_ENV.fullmatch(value) is not None)


def plain_header(name: str, value: str) -> bool:
    """Tell whether a header's value can't be a secret."""
    return not value or name.lower() in _PLAIN_HEADERS


def in_args(args: Sequence[str]) -> Iterator[tuple[Span, ...]]:
    """Yield for each argument of a command the parts that look like secrets, by name or by form."""
    flag = ""  # the argument before, if it takes the secret that follows
    for position, arg in enumerate(args):
        assigned = _ASSIGNED.fullmatch(arg)
        header = _HEADER_ARG.fullmatch(arg)
        if assigned and (_SECRET_WORD.search(assigned["name"]) or _issued(assigned["value"])):
            yield (Span(*assigned.span("value"), assigned["name"]),)
        elif header and _SECRET_WORD.search(header["name"]):
            yield (Span(*header.span("value"), header["name"]),)
        elif flag and not _FLAG.fullmatch(arg) and arg:
            yield (Span(0, len(arg), flag),)
        elif _issued(arg):
            yield (Span(0, len(arg), f"arg {position}"),)
        elif arg.startswith(("http://", "https://")):
            yield in_url(arg)
        else:
            yield tuple(_password(arg))
        flag = arg if _FLAG.fullmatch(arg) and _SECRET_WORD.search(arg) else ""


def in_url(url: str) -> tuple[Span, ...]:
    """Return the parts of a URL that are secrets, or look like it.

    A password, parameters by name or form, and random steps of its path.
    """
    parts = urlsplit(url)
    query = url.find("?") if parts.query else len(url)
    found = list(_password(url))
    steps = _STEP.finditer(url, found[0].end if found else 0, query)
    found += [Span(*step.span(), "url") for step in steps if _issued(step[0])]
    found += [
        Span(*pair.span(2), pair[1])
        for pair in _PARAMETER.finditer(url)
        if _SECRET_WORD.search(pair[1]) or _issued(pair[2])
    ]
    return tuple(_apart(found))


def _apart(spans: list[Span]) -> Iterator[Span]:
    """Yield spans in their order, those that overlap as one: a password may look like a path or a parameter, too."""
    before: Span | None = None
    for span in sorted(spans, key=attrgetter("start")):
        if before is not None and span.start < before.end:
            before = replace(before, end=max(before.end, span.end))
            continue
        if before is not None:
            yield before
        before = span
    if before is not None:
        yield before


def _password(url: str) -> Iterator[Span]:
    """Yield the password of a URL of any scheme, if it has one (RFC 3986 section 3.2.1)."""
    _, scheme, rest = url.partition("://")
    if scheme:
        begin = len(url) - len(rest)
        authority = _AUTHORITY.match(url, begin)
        assert authority is not None
        at = url.rfind("@", begin, authority.end())
        colon = url.find(":", begin, at) if at >= 0 else -1
        if 0 <= colon < at - 1:
            yield Span(colon + 1, at, "password")


def masked(text: str, spans: Sequence[Span]) -> str:
    """Return ``text`` with every secret of it as ``***``."""
    shown, end = "", 0
    for span in spans:
        shown += text[end : span.start] + MASK
        end = span.end
    return shown + text[end:]


def masked_args(args: Sequence[str]) -> list[str]:
    """Return arguments with what looks like a secret as ``***``."""
    return [masked(arg, spans) for arg, spans in zip(args, in_args(args), strict=True)]


def masked_url(url: str) -> str:
    """Return a URL with what looks like a secret as ``***``."""
    return masked(url, in_url(url))


def _issued(text: str) -> bool:
    """Tell whether a text looks like what a service hands out as a token."""
    return len(text) >= _MIN_ISSUED and bool(_ISSUED.fullmatch(text) or _RANDOM.fullmatch(text))
