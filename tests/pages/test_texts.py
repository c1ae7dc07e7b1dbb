"""Every text of the pages is there in every language."""

import re
import runpy
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from metamcp_asgi.admin.pages.inspector.texts import TEXTS
from metamcp_asgi.pages.i18n import PACKAGE, catalogues, translations
from metamcp_asgi.pages.templates import environment
from metamcp_asgi.pages.visit import LANGUAGES
from tests.places import ROOT

SCRIPT = runpy.run_path(str(ROOT / "scripts" / "update_texts.py"))
# Where texts are found takes seconds, which every worker would spend before its first test.
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/locale"))
TRANSLATED = [language for language in LANGUAGES if language != "en"]


@cache
def texts(room: Path) -> dict[str, Message]:
    return {str(message.id): message for message in SCRIPT["texts_of"](room) if message.id}


def test_there_are_rooms_with_texts_and_a_language_beside_english() -> None:
    assert {"pages", "signin"} <= {room.name for room in ROOMS}
    assert [room for room in sorted(PACKAGE.iterdir()) if room.is_dir() and texts(room)] == ROOMS
    assert {path.stem for room in ROOMS for path in room.glob("locale/*.po")} == set(TRANSLATED) == {"zh"}


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_no_text_of_a_room_is_missing_in_its_catalogue_and_none_is_left_over(room: Path, language: str) -> None:
    path = room / "locale" / f"{language}.po"
    assert path in catalogues(language), "run: make texts"
    with path.open("rb") as file:
        translated = {str(message.id): message for message in read_po(file, locale=language) if message.id}
    assert set(translated) == set(texts(room)), "run: make texts"
    for identity, message in translated.items():
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(strings), f"{identity!r} is not translated"
        assert not message.fuzzy, identity
        for string in strings:
            # The same values are shown.
            assert set(re.findall(r"%\((\w+)\)s", string)) <= set(re.findall(r"%\((\w+)\)s", identity)), identity


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "template",
    [
        f"{room.name}/{path.relative_to(room / 'templates')}"
        for room in ROOMS
        for path in sorted(room.glob("templates/**/*.html"))
    ],
)
def test_every_template_compiles_and_has_no_inline_script_or_style(template: str, language: str) -> None:
    made = environment(language)
    assert made.get_template(template)
    assert made.loader is not None
    source, _, _ = made.loader.get_source(made, template)
    # What they are given is not escaped; `told` is for values.
    assert not re.search(r"(?<!\w)(_|gettext|ngettext)\(\s*[^\"'\s]", source)
    # The content security policy would not run it.
    assert not re.search(r"(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", source)


def test_the_inspectors_script_is_told_all_of_its_texts_and_no_others() -> None:
    scripts = (PACKAGE / "pages" / "static" / "inspector").glob("*.js")
    used = {
        text for script in scripts for text in re.findall(r'\bt\(\s*"((?:[^"\\]|\\.)*)"', script.read_text("utf-8"))
    }
    assert used
    assert sorted(used) == sorted(TEXTS)


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_inspectors_texts_show_the_same_values_in_every_language(language: str) -> None:
    told = translations(language).gettext
    for text in TEXTS:
        assert set(re.findall(r"\{\w+\}", told(text))) == set(re.findall(r"\{\w+\}", text)), text
