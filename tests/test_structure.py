"""The house rules of the architecture that no reader sees at a glance: imports, what a start costs, and docstrings."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import metamcp_asgi

PACKAGE = Path(metamcp_asgi.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [path for path in MODULES if path.name not in ("__init__.py", "__main__.py") and not path.name.startswith("_")]

# From the top of the house to its ground; the rooms of one floor may not import each other.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {"supervisor"},
    {"worker"},
    {"serve", "check"},
    {"gateway"},
    {"beside", "core"},
    {"admin", "companion", "instance", "legs", "logs", "oauth", "operations"},
    {"running"},
    {"signin"},
    {"pages"},
    {"http_server", "settings", "siblings"},
    {"grants", "readers", "registry", "systemd"},
    {"downstream", "tokens"},
    {"asgi"},
    {"aggregate"},
    {"upstream"},
    {"bus"},
    {"store"},
    {"config"},
    {"outward"},
    {"protocol"},
    {"lines", "metrics"},
    {"pace", "tasks", "timers", "errors"},
)
# ``metamcp_asgi`` itself names what the package exports, and imports it when it is asked for.
ROOF = "__init__"


def room(module: str) -> str:
    """Returns the room of a dotted module name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ROOF


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, package: str = "metamcp_asgi") -> Iterator[str]:
    """Yields every module that is imported anywhere in a module, in functions and under TYPE_CHECKING, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            # ``from package import room``: what is imported may itself be a module.
            yield from (
                f"{node.module}.{alias.name}" if node.module == package else node.module or "" for alias in node.names
            )


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def each(paths: Iterable[Path], rule: Callable[[Path], None]) -> None:
    """Fails with every file that breaks a rule. A test for each rule and file would take a hundred times as long."""
    broken = []
    for path in paths:
        try:
            rule(path)
        except AssertionError as fault:
            broken.append(f"{path.relative_to(PACKAGE)}: {fault}")
    assert not broken, "\n".join(broken)


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in MODULES} - {ROOF} == set().union(*FLOORS)


def test_no_import_goes_up_the_floors() -> None:
    def rule(path: Path) -> None:
        here = room_of(path)
        if here == ROOF:
            return
        floor = next(number for number, rooms in enumerate(FLOORS) if here in rooms)
        below = set().union(*FLOORS[floor + 1 :])
        for module in imports(parsed(path)):
            if module.partition(".")[0] != "metamcp_asgi":
                continue
            other = room(module)
            # Its version is all that the package itself has for its rooms.
            allowed = other in below or other == here or module == "metamcp_asgi.__version__"
            assert allowed, f"{here} imports {module}, which is not below it"

    each(MODULES, rule)


def test_the_ground_floor_does_no_io() -> None:
    forbidden = {
        "asyncio",
        "socket",
        "ssl",
        "select",
        "selectors",
        "http",
        "urllib",
        "subprocess",
        "threading",
        "pathlib",
    }

    def rule(path: Path) -> None:
        for module in imports(parsed(path)):
            top = module.partition(".")[0]
            if top == "metamcp_asgi":
                assert room(module) in ("protocol", "errors"), module
            elif top not in ("msgspec", "cryptography"):
                assert top in sys.stdlib_module_names - forbidden, module

    each((path for path in MODULES if room_of(path) == "protocol"), rule)


def test_a_layer_knows_nothing_of_mcp_messages() -> None:
    def rule(path: Path) -> None:
        rooms = {room(module) for module in imports(parsed(path)) if module.startswith("metamcp_asgi")}
        assert rooms <= {"asgi", "config", "errors"}, rooms

    each((path for path in MODULES if room_of(path) == "asgi"), rule)


def test_a_module_says_what_it_is_for() -> None:
    def rule(path: Path) -> None:
        assert ast.get_docstring(parsed(path)), "no docstring"

    each(MODULES, rule)


def offers(path: Path) -> None:
    """Fails unless a module's ``__all__`` names something, only what is there, and that once."""
    tree = parsed(path)
    offered: list[str] = []
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                offered = ast.literal_eval(node.value) if node.value is not None else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    assert offered, "no __all__"
    assert set(offered) <= defined
    assert len(offered) == len(set(offered))


def test_a_public_module_says_what_it_offers() -> None:
    each(PUBLIC, offers)


def asserts_of_input(tree: ast.Module) -> Iterator[ast.Assert]:
    """Yields every assertion that does more than to tell a type checker what is known."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            narrowing = isinstance(node.test, ast.Compare) and all(
                isinstance(op, ast.Is | ast.IsNot) for op in node.test.ops
            )
            instance = isinstance(node.test, ast.Call) and ast.unparse(node.test.func) == "isinstance"
            if not (narrowing or instance):
                yield node


def test_no_input_is_checked_by_an_assertion() -> None:
    # ``python -O`` takes assertions away.
    def rule(path: Path) -> None:
        assert [f"line {node.lineno}: {ast.unparse(node)}" for node in asserts_of_input(parsed(path))] == []

    each(MODULES, rule)


def test_a_file_is_a_room_and_not_a_house() -> None:
    def rule(path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350

    each(MODULES, rule)


START = """
import json, sys
import metamcp_asgi.cli, metamcp_asgi.serve, metamcp_asgi.gateway
import {more}
metamcp_asgi.gateway.Gateway.from_file(sys.argv[1])
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
# Each costs a start tens of milliseconds to seconds, and some tens of MB; none is needed to serve.
HEAVY = {
    "mcp",
    "mcp_types",
    "pydantic",
    "pydantic_core",
    "sqlalchemy",
    "alembic",
    "aiosqlite",
    "psycopg",
    "httpx",
    "httpx2",
    "aiohttp",
    "fastapi",
    "jinja2",
    "babel",
}
HEAVY |= {
    "prometheus_client",
    "structlog",
    "redis",
    "authlib",
    "jwt",
    "jsonschema",
    "opentelemetry",
    "rich",
    "typer",
    "requests",
    "numpy",
    "setuptools",
}


def modules_at_start(folder: Path, more: str = "os") -> set[str]:
    config = folder / "mcp.json"
    config.write_text('{"mcpServers": {"a": {"command": "a"}, "b": {"url": "http://127.0.0.1:1/mcp"}}}')
    command = [sys.executable, "-c", START.format(more=more), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_serving_never_imports_the_sdk_to_start(tmp_path: Path) -> None:
    found = modules_at_start(tmp_path)
    assert "metamcp_asgi" in found
    assert found & HEAVY == set()


def test_the_sdk_would_be_noticed(tmp_path: Path) -> None:
    assert modules_at_start(tmp_path, "mcp.types") & HEAVY >= {"mcp", "pydantic"}


def test_a_layer_alone_does_not_pay_for_the_gateway() -> None:
    code = "import sys; from metamcp_asgi import CORS, RateLimit; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "metamcp_asgi.asgi.ratelimit" in loaded
    assert not {
        name for name in loaded if name.startswith(("metamcp_asgi.upstream", "metamcp_asgi.gateway", "cryptography"))
    }
