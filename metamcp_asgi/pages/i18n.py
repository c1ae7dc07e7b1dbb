"""The texts of pages in the visitor's language, from the gettext catalogues of the rooms.

A text's name is the text in English, so English needs no catalogue. The catalogues are compiled when the first page in
their language is shown. Knows nothing of templates.
"""

import gettext
import io
from functools import cache
from pathlib import Path
from typing import Final

from metamcp_asgi.errors import MetaMCPError

__all__ = ["MISSING", "N_", "PACKAGE", "catalogues", "translations"]

PACKAGE: Final = Path(__file__).parent.parent
MISSING: Final = 'the pages need further packages: pip install "metamcp-asgi[admin]"'


def N_(text: str) -> str:  # noqa: N802 - gettext's name, by which Babel finds the texts
    """Mark a text that a page will translate, and return it as it is."""
    return text


def catalogues(language: str) -> list[Path]:
    """Return the catalogues of a language, one of each room that has one."""
    return sorted(PACKAGE.glob(f"*/locale/{language}.po"))


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the texts of a language.

    Raises:
        MetaMCPError: The packages that pages need are missing.
    """
    found: gettext.NullTranslations = gettext.NullTranslations()
    for path in catalogues(language):
        try:
            from babel.messages.mofile import write_mo
            from babel.messages.pofile import read_po
        except ImportError:
            raise MetaMCPError(MISSING) from None
        compiled = io.BytesIO()
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=language))
        compiled.seek(0)
        catalogue = gettext.GNUTranslations(compiled)
        catalogue.add_fallback(found)
        found = catalogue
    return found
