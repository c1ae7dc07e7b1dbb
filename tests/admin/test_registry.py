"""A registry's servers by the management API, over real HTTP."""

from pathlib import Path

import pytest

from metamcp_asgi.admin.api import registry
from tests.admin.managed import MEMBER, managed
from tests.registry.listing import listing


async def test_a_server_of_a_registry_is_found_and_added(tmp_path: Path) -> None:
    async with (
        listing() as served,
        managed(f"sqlite:///{tmp_path}/metamcp.db", registry_url=served.origin, outward_allowed=("127.0.0.1",)) as api,
    ):
        first = await api.get("/registry", params={"limit": 1})
        assert [item["name"] for item in first["items"]] == ["io.github.user/weather"]
        assert [way["id"] for way in first["items"][0]["ways"]] == ["package-0", "package-1"]
        rest = await api.get("/registry", params={"limit": 1, "after": first["next"]})
        assert rest["items"] == [await api.get("/registry/server", params={"name": "com.example/hosted"})]

        new = {"listed": "com.example/hosted", "version": "2.0.0", "way": "remote-0", "name": "hosted"}
        unanswered = await api.send("POST", "/registry/server", new, key=MEMBER)
        assert unanswered.status_code == 422
        assert unanswered.json()["errors"] == [
            {"detail": "is needed", "pointer": "/answers/header.Authorization.token"}
        ]
        wrong = await api.send("POST", "/registry/server", {**new, "way": "package-0"}, key=MEMBER)
        assert wrong.json()["errors"][0]["pointer"] == "/way"
        answered = {**new, "answers": {"header.Authorization.token": "t-7f3a"}}
        made = await api.send("POST", "/registry/server", answered, key=MEMBER)
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"/api/v1/servers/{made.json()['id']}"
        assert (made.json()["url"], made.json()["headerNames"]) == ("https://acme.example.com/mcp", ["Authorization"])
        assert (await api.send("POST", "/registry/server", answered, key=MEMBER)).status_code == 409
        assert "t-7f3a" not in "".join(api.bodies)

        assert (await api.send("GET", "/registry/server", params={"name": "a/b"})).status_code == 404
        assert (await api.send("GET", "/registry/server")).status_code == 422
        assert (await api.send("GET", "/registry", key=None)).status_code == 401
        served.broken = (500, b"")
        away = await api.send("GET", "/registry", params={"search": "away"})
        assert (away.status_code, away.json()["detail"]) == (502, "The registry 127.0.0.1 answered with 500.")


async def test_one_person_has_a_registry_asked_so_often_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "PER_MINUTE", 2)
    async with (
        listing() as served,
        managed(f"sqlite:///{tmp_path}/metamcp.db", registry_url=served.origin, outward_allowed=("127.0.0.1",)) as api,
    ):
        await api.get("/registry", params={"search": "one"}, key=MEMBER)
        await api.get("/registry/server", params={"name": "com.example/hosted"}, key=MEMBER)
        refused = await api.send("GET", "/registry", params={"search": "three"}, key=MEMBER)
        assert (refused.status_code, len(served.asked)) == (429, 2)
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        await api.get("/registry", params={"search": "three"})
