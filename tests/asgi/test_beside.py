"""Other applications beside the endpoints."""

from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.beside import Beside


async def test_only_what_lies_below_a_site_goes_there_and_only_while_there_is_one() -> None:
    went: list[tuple[str, str]] = []

    def site(name: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            went.append((name, scope["path"]))

        return app

    async def nothing(*_: object) -> None:
        raise AssertionError

    sites = {"/api/v1": site("api"), "/admin": site("admin"), "/admin/static": site("static")}
    app = Beside(site("inner"), lambda: sites)

    async def asked(path: str, root: str = "") -> str:
        await app({"type": "http", "path": path, "root_path": root}, nothing, nothing)  # type: ignore[arg-type]
        name, seen = went[-1]
        assert seen == path
        return name

    assert [await asked(path) for path in ("/api/v1/x", "/api/v1", "/api/v10", "/api")] == [
        "api",
        "api",
        "inner",
        "inner",
    ]
    assert [await asked(path, "/m") for path in ("/m/api/v1/x", "/m/api/v1", "/api/v1")] == ["api", "api", "api"]
    assert [await asked(path) for path in ("/admin/x/y", "/admin/static/x")] == ["admin", "static"]
    assert [await asked(path) for path in ("/metamcp/a/api/v1", "/", "")] == ["inner", "inner", "inner"]
    del sites["/api/v1"]
    assert await asked("/api/v1/x") == "inner"
