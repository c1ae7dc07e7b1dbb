"""The OpenAPI document is valid, says what is there, and what it says holds."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import openapi_spec_validator

from metamcp_asgi.admin.api.application import OPERATIONS
from tests.admin.managed import ADMIN, Managed, managed


async def test_the_document_is_valid_and_the_same_for_everybody(api: Managed) -> None:
    answer = await api.send("GET", "/openapi.json", key=None)
    assert answer.status_code == 200
    document = answer.json()
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")
    again = await api.send("GET", "/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_the_document_has_every_operation_and_strict_bodies(api: Managed) -> None:
    document = await api.get("/openapi.json", key=None)
    described = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert set(described) == {(each.method, re.sub(r":\w+", "", each.path)) for each in OPERATIONS}
    identities = [operation["operationId"] for operation in described.values()]
    assert len(identities) == len(set(identities))
    new = document["components"]["schemas"]["NewServer"]
    assert new["additionalProperties"] is False
    assert new["required"] == ["name"]
    # Sessions have no versions, nor has a grant, whose tokens change by themselves.
    changing = [
        operation
        for (method, path), operation in described.items()
        if method in ("PATCH", "DELETE") and "/sessions" not in path and not path.endswith("/grant")
    ]
    assert all(any(each["name"] == "If-Match" for each in operation["parameters"]) for operation in changing)


async def test_no_input_makes_it_fail_and_its_answers_are_as_described(
    postgres_url: Callable[[], str], tmp_path: Path
) -> None:
    """Schemathesis, in a process of its own; it is kept from taking its own key and user away, and from somebody
    else's registry. PostgreSQL is the stricter database."""
    async with managed(postgres_url()) as api:
        server = await api.make("/servers", {"name": "web", "url": "http://127.0.0.1:9/mcp", "disabled": True})
        await api.make("/namespaces", {"name": "all", "servers": [{"serverId": server["id"]}]})
        for key in (await api.get("/keys"))["items"]:  # those that expire are no part of a configuration, to be pruned
            await api.change(f"/keys/{key['id']}", {"expiresAt": "2100-01-01T00:00:00Z"})
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{api.port}/api/v1/openapi.json"),
            *("--header", f"X-API-Key: {ADMIN}", "--header", "If-Match: *", "--checks", checks, "--seed", "1"),
            *("--phases", os.environ.get("SCHEMATHESIS_PHASES", "fuzzing"), "--no-color"),
            *("--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "2")),
            *("--exclude-operation-id-regex", "^((update|delete)(Key|User)|rotateKey)$|Registry"),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()[-6000:]
        assert (await api.get("/me"))["role"] == "admin"
