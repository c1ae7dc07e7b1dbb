"""Templates: where they are, and what each of them can use.

``room/name.html`` is ``templates/name.html`` of that room of the package. There is one environment for each language,
so that a template is compiled once. Knows nothing of requests but the ``Visit``.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from metamcp_asgi import __version__
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.pages.assets import asset_path
from metamcp_asgi.pages.forms import CSRF_FIELD
from metamcp_asgi.pages.i18n import MISSING, PACKAGE, translations
from metamcp_asgi.pages.reasons import told as in_language
from metamcp_asgi.pages.visit import LANGUAGES, THEMES, Visit

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "html"]


@cache
def environment(language: str) -> "Environment":
    """Return the environment of a language; values are escaped, and an unknown name is an error.

    Raises:
        MetaMCPError: The packages that pages need are missing.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MetaMCPError(MISSING) from None
    made = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    # As the extension's documentation has it; it adds the method itself, which no type tells.
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    made.globals.update(LANGUAGES=LANGUAGES, THEMES=THEMES, version=__version__)
    return made


def html(template: str, visit: Visit, me: Any, values: dict[str, Any]) -> str:
    """Return the text of a page.

    Args:
        template: The template's name.
        visit: The request.
        me: Who is signed in, or ``None``.
        values: What the template shows.
    """
    page = environment(visit.language).get_template(template)
    from markupsafe import Markup  # comes with Jinja

    def csrf_field() -> Markup:
        return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, visit.csrf)

    def asset(name: str) -> str:
        return visit.url(asset_path(name))

    def told(text: str) -> str:
        # Jinja's own functions take what they are given for markup, which only a text in the template itself is.
        return in_language(visit.language, text)

    def told_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        return [(value, told(text)) for value, text in pairs]

    known = {
        "told": told,
        "told_pairs": told_pairs,
        "visit": visit,
        "me": me,
        "url": visit.url,
        "asset": asset,
        "csrf_field": csrf_field,
    }
    return page.render(known | values)


def _source(name: str) -> str | None:
    room, _, rest = name.partition("/")
    path = PACKAGE / room / "templates" / rest
    return path.read_text(encoding="utf-8") if path.is_file() else None
