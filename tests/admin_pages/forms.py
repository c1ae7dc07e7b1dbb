"""The form on a page, as a browser would send it when nobody touches it, and what is marked as wrong in it."""

from html.parser import HTMLParser

__all__ = ["form_in", "wrong_in"]


class _Fields(HTMLParser):
    """Reads the fields of the largest form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = [{}]
        self.wrong: list[str] = []
        self._inside = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        fields, name = self.forms[-1], given.get("name", "")
        if tag == "form":
            self.forms.append({})
        if "aria-invalid" in given:
            self.wrong.append(name)
        if tag == "input" and name and (given.get("type") not in ("checkbox", "radio") or "checked" in given):
            fields[name] = given.get("value", "on")
        elif tag == "textarea":
            self._inside, fields[name] = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and (self._select not in fields or "selected" in given):
            fields[self._select] = given["value"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._inside = ""
        elif tag == "form":
            self.forms.append({})

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.forms[-1][self._inside] += data


def form_in(page: str) -> dict[str, str]:
    """Returns the fields of the largest form of a page, but for its token."""
    fields = _Fields()
    fields.feed(page)
    form = max(fields.forms, key=len)
    return {name: value for name, value in form.items() if name != "csrf_token"}


def wrong_in(page: str) -> list[str]:
    """Returns the names of the fields that are marked as wrong."""
    fields = _Fields()
    fields.feed(page)
    return fields.wrong
