"""Add the texts of the pages that are missing to the catalogues of their rooms, and drop those that are gone.

    python scripts/update_texts.py

What is added has no translation yet; a test fails until it has.
"""

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).parent.parent / "metamcp_asgi"
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2.ext.babel_extract")]
OPTIONS = {"**/templates/**.html": {"newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true"}}
KEYWORDS = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}


def texts_of(room: Path) -> Catalog:
    """Return the texts that the templates and the code of a room mark."""
    found = Catalog()
    for _, _, message, comments, _ in extract_from_dir(room, METHODS, OPTIONS, KEYWORDS, ("Translators:",)):
        found.add(message, auto_comments=comments)
    return found


def rooms() -> list[Path]:
    """Return the rooms that have texts."""
    return [room for room in sorted(PACKAGE.iterdir()) if room.is_dir() and len(texts_of(room))]


def main() -> None:
    """Bring the catalogues up to date."""
    languages = sorted({path.stem for path in PACKAGE.glob("*/locale/*.po")})
    for room in rooms():
        texts = texts_of(room)
        for language in languages:
            path = room / "locale" / f"{language}.po"
            path.parent.mkdir(exist_ok=True)
            catalogue = Catalog(locale=language)
            if path.is_file():
                with path.open("rb") as file:
                    catalogue = read_po(file, locale=language)
            catalogue.update(texts, no_fuzzy_matching=True)
            catalogue.obsolete.clear()
            with path.open("wb") as file:
                write_po(file, catalogue, width=110, sort_output=True, omit_header=True)


if __name__ == "__main__":
    main()
