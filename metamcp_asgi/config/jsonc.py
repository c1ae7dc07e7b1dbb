"""JSON with comments and trailing commas, as VS Code, Cursor and Zed write their files, made plain JSON.

Knows the grammar of JSON's texts and nothing of what a document means.
"""

import re
from typing import Final

__all__ = ["plain_json"]

# A text is matched first, so that what looks like a comment or a comma within one is left alone.
_TOKEN: Final = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<comma>,)|(?P<close>[]}])|(?P<space>\s+)""",
    re.DOTALL,
)
_NOT_NEWLINE: Final = re.compile(r"[^\n]")


def plain_json(text: str) -> str:
    """Return ``text`` with comments and trailing commas as spaces, so that an error's line and column stay true.

    Args:
        text: The document. What isn't a comment or a trailing comma stays, wrong or not.
    """
    parts: list[str] = []
    comma = -1  # where in ``parts`` a comma waits to see what follows
    end = 0
    for found in _TOKEN.finditer(text):
        if found.start() > end:
            parts.append(text[end : found.start()])
            comma = -1
        end = found.end()
        kind = found.lastgroup
        if kind == "comment":
            parts.append(_NOT_NEWLINE.sub(" ", found[0]))
            continue
        if kind == "close" and comma >= 0:
            parts[comma] = " "
        if kind == "comma":
            comma = len(parts)
        elif kind != "space":
            comma = -1
        parts.append(found[0])
    parts.append(text[end:])
    return "".join(parts)
