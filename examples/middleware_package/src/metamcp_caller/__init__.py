"""Tells tools who calls: fills in one argument of theirs, and takes it out of what models are shown.

namespaces:
  work:
    servers: [tickets]
    middlewares:
      - caller: {argument: author}
"""

from msgspec import Struct

from metamcp_asgi.aggregate.middleware import Items, ListCall, Next, ToolCall, ToolResult


class Options(Struct, forbid_unknown_fields=True):
    argument: str = "caller"


class Caller:
    Options = Options

    def __init__(self, options: Options) -> None:
        self.argument = options.argument

    async def list_tools(self, call: ListCall, following: Next[ListCall, Items]) -> Items:
        items = await following(call)
        for item in items:
            schema = item.definition.get("inputSchema", {})
            if self.argument in schema.get("properties", {}):
                shown = {name: each for name, each in schema["properties"].items() if name != self.argument}
                required = [name for name in schema.get("required", ()) if name != self.argument]
                item.definition = {
                    **item.definition,
                    "inputSchema": {**schema, "properties": shown, "required": required},
                }
        return items

    async def call_tool(self, call: ToolCall, following: Next[ToolCall, ToolResult]) -> ToolResult:
        if f'"{self.argument}"'.encode() in bytes(call.definition.get("inputSchema", b"")):
            call.arguments = {**call.arguments, self.argument: call.principal.name or call.principal.kind}
        return await following(call)
