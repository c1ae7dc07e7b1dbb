"""Middlewares: what a namespace does to lists and calls on their way, in an order set by its configuration.

A middleware is a plain class. It has those of these asynchronous methods that it needs, and costs nothing elsewhere:
``call_tool``, ``get_prompt``, ``read_resource``, and ``list_tools``, ``list_prompts``, ``list_resources``,
``list_resource_templates``; each takes the call and ``next``, which passes it on. See ``docs/middlewares.md``.
"""

from metamcp_asgi.aggregate.middleware.items import Items, ListCall, ListedItem
from metamcp_asgi.aggregate.middleware.protocol import (
    Next,
    PromptCall,
    PromptResult,
    ResourceCall,
    ResourceResult,
    ToolCall,
    ToolResult,
)
from metamcp_asgi.aggregate.middleware.signals import CallFailed, InputNeeded

__all__ = [
    "CallFailed",
    "InputNeeded",
    "Items",
    "ListCall",
    "ListedItem",
    "Next",
    "PromptCall",
    "PromptResult",
    "ResourceCall",
    "ResourceResult",
    "ToolCall",
    "ToolResult",
]
