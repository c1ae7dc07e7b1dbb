"""Says which JSON documents a release of the Python SDK accepts as its own types; run by that release's interpreter.

Reads a JSON list of `[type, document]` and prints a JSON list of what is wrong with each, empty for nothing.
"""

import json
import sys

from mcp import types
from pydantic import TypeAdapter, ValidationError


def problem(name: str, document: object) -> str:
    try:
        TypeAdapter(getattr(types, name)).validate_python(document)
    except ValidationError as error:
        return str(error)
    return ""


print(json.dumps([problem(name, document) for name, document in json.load(sys.stdin)]))
