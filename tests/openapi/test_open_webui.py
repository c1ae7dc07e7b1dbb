"""Open WebUI: what it does with a tool server's URL and key, here with a real stdio server behind.

It appends `/openapi.json` to the URL, makes a tool of every operation (named by its `operationId`, described by
`description` or `summary`, parameters from `parameters` and the resolved JSON body), and sends a call to URL + path in
the operation's method, arguments as the JSON body where there is one. An answer of 400 or more is raised as an error.
"""

import re
import sys
from typing import Any

import httpx2
import pytest

from tests.gateway.running import KEY_A, gateway_over
from tests.openapi.bridge import JSON, bridge_over


class OpenWebUI:
    """A tool server as Open WebUI uses it."""

    def __init__(self, http: httpx2.AsyncClient, url: str, key: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._document: JSON = {}

    async def tools(self) -> dict[str, JSON]:
        answer = await self._http.get(f"{self._url}/openapi.json", headers=self._headers)
        assert answer.status_code == 200
        self._document = answer.json()
        tools = {}
        for methods in self._document["paths"].values():
            for operation in methods.values():
                schema: JSON = {"type": "object", "properties": {}, "required": []}
                for parameter in operation.get("parameters", []):
                    schema["properties"][parameter["name"]] = parameter["schema"]
                if body := operation.get("requestBody"):
                    resolved = self._resolve(body["content"]["application/json"]["schema"])
                    schema["properties"].update(resolved.get("properties", {}))
                    schema["required"] = resolved.get("required", [])
                description = operation.get("description", operation.get("summary", "No description available."))
                tools[operation["operationId"]] = {"description": description, "parameters": schema}
        return tools

    def _resolve(self, schema: Any, seen: frozenset[str] = frozenset()) -> Any:
        if "$ref" in schema:
            if schema["$ref"] in seen:
                return {}
            found: Any = self._document["components"]
            for part in schema["$ref"].strip("#/").split("/")[1:]:
                found = found[part]
            return self._resolve(found, seen | {schema["$ref"]})
        resolved = dict(schema)
        if "properties" in schema:
            resolved["properties"] = {name: self._resolve(each, seen) for name, each in schema["properties"].items()}
        if "items" in schema:
            resolved["items"] = self._resolve(schema["items"], seen)
        return resolved

    async def call(self, name: str, arguments: JSON) -> Any:
        path, method, operation = next(
            (path, method, operation)
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
            if operation["operationId"] == name
        )
        url = f"{self._url}{path}"
        body = arguments if "requestBody" in operation else None
        answer = await self._http.request(method.upper(), url, headers=self._headers, json=body)
        if answer.status_code >= 400:
            raise RuntimeError(f"HTTP error {answer.status_code}: {answer.text}")
        return answer.json()


async def test_every_tool_once_and_each_can_be_called() -> None:
    async with (
        bridge_over() as bridge,
        httpx2.AsyncClient() as http,
    ):
        webui = OpenWebUI(http, f"http://127.0.0.1:{bridge.running.port}/metamcp/keyed/api", KEY_A)
        tools = await webui.tools()
        assert len(tools) == len([name for name in tools if re.fullmatch(r"[a-zA-Z0-9_]{1,64}", name)]) == 8
        assert tools["t__add"]["description"] == "Adds two numbers."
        assert tools["t__add"]["parameters"]["required"] == ["a"]
        tree = tools["t__grow"]["parameters"]["properties"]["tree"]
        assert tree["properties"]["label"]["type"] == "string"
        assert (await webui.call("t__add", {"a": 1, "b": 1}))["structuredContent"] == {"total": 2}
        assert (await webui.call("t__ping", {}))["content"][0]["text"] == "pong"
        grown = await webui.call("t__grow", {"tree": {"label": "leaf"}})
        assert grown["structuredContent"]["children"] == [{"label": "leaf", "children": []}]
        # The model reads what went wrong.
        assert "it failed" in (await webui.call("t__fail", {}))["content"][0]["text"]
        (weather,) = (name for name, tool in tools.items() if tool["description"] == "天気予報")
        assert (await webui.call(weather, {"city": "東京"}))["content"][0]["text"] == "東京: 晴れ"


@pytest.mark.peers
async def test_the_time_server_over_stdio() -> None:
    time = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "Europe/Berlin"]}
    async with gateway_over({"time": time}) as running, httpx2.AsyncClient(timeout=20) as http:
        webui = OpenWebUI(http, f"http://127.0.0.1:{running.port}/metamcp/keyed/api", KEY_A)
        assert {"time__get_current_time", "time__convert_time"} <= set(await webui.tools())
        result = await webui.call("time__get_current_time", {"timezone": "Asia/Tokyo"})
        assert "+09:00" in result["content"][0]["text"]
