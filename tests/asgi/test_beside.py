"""Another application beside the endpoints."""

from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.beside import Beside


async def test_only_what_lies_below_the_prefix_goes_there_and_only_while_there_is_something() -> None:
    went: list[tuple[str, str]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        went.append(("inner", scope["path"]))

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        went.append(("other", scope["path"]))

    async def nothing(*_: object) -> None:
        raise AssertionError

    present: list[object] = [other]
    app = Beside(inner, "/api/v1", lambda: present[0])  # type: ignore[arg-type, return-value]
    for path, root in (("/api/v1/x", ""), ("/api/v1", ""), ("/api/v10", ""), ("/m/api/v1/x", "/m"), ("/m/api/v1", "")):
        await app({"type": "http", "path": path, "root_path": root}, nothing, nothing)  # type: ignore[arg-type]
    assert [who for who, _ in went] == ["other", "other", "inner", "other", "inner"]
    present[0] = None
    await app({"type": "http", "path": "/api/v1/x"}, nothing, nothing)  # type: ignore[arg-type]
    assert went[-1] == ("inner", "/api/v1/x")
