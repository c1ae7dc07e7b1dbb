"""A middleware of the laboratory: it shows a tool to A alone, and sends calls to another region."""

from typing import Any

REWRITTEN = "rewrite me"
REGION = "eu"
FOR_A = ("__count", "__other")
"""How the names of the tools end that only A sees."""


class Filtering:
    """What makes lists and arguments differ by who asks."""

    per_principal = True

    async def list_tools(self, call: Any, next: Any) -> Any:  # noqa: A002 - the protocol's word
        items = await next(call)
        if call.principal.name == "A":
            return items
        return [item for item in items if not item.name.endswith(FOR_A)]

    async def call_tool(self, call: Any, next: Any) -> Any:  # noqa: A002
        if call.arguments.get("region") == REWRITTEN:
            call.arguments = {**call.arguments, "region": REGION}
        return await next(call)
