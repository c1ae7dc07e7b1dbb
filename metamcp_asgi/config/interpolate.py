"""Environment variables inside the texts of a configuration.

``${VAR}`` is the variable's value, ``${VAR:-default}`` the default where the variable is unset or empty, as in a
shell, and ``$${`` a literal ``${``. Any other ``$`` stays what it is. Knows nothing of documents.
"""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["interpolate"]

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\})?")


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with every reference to a variable replaced; what is put in is not looked at again.

    Args:
        text: The text as written in the document.
        environ: The variables.

    Raises:
        ValueError: A variable is unset, or ``${`` begins no reference. The message never contains ``text``.
    """
    if "${" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found[1], found[2]
        if name is None:
            raise ValueError('has a "${" that begins no ${VAR} or ${VAR:-default}; write "$${" for a literal "${"')
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise ValueError(
                f"the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
            )
        return environ[name]

    return _REFERENCE.sub(value, text)
