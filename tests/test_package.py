"""The package as others get it: sdist, wheel, and a fresh environment with nothing else in it."""

import email
import email.message
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from metamcp_asgi import __version__
from metamcp_asgi.config.file import load
from tests.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# One worker builds, for all of these tests.
pytestmark = [pytest.mark.xdist_group("package"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and with the wheel that was built from it and so needs nothing else."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for step in (["install", "--no-compile", wheel], ["check"]):
        done = subprocess.run([*pip, *step], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path) -> str:
    # In isolated mode, and elsewhere: the checkout must not be what answers.
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_has_the_package_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "metamcp_asgi").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    migrations = {
        f"metamcp_asgi/{path.relative_to(ROOT)}"
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert migrations
    assert names == source | migrations
    assert {"metamcp_asgi/py.typed", "metamcp_asgi/upstream/_reaper_main.py"} <= names


def test_sdist_has_what_a_reader_needs_and_nothing_of_this_machine(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "examples/mcp.json"} <= names
    hidden = {name for name in names if re.search(r"(^|/)(\.(?!gitignore$)|__pycache__|node_modules)", name)}
    assert hidden == set()


def test_metadata_says_what_it_is(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "metamcp-asgi"
    assert metadata["Version"] == PROJECT["version"] == __version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT.get("optional-dependencies", {}))
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert str(ROOT) not in str(metadata)


def test_metadata_names_the_licences_of_all_that_is_in_the_wheel(metadata: email.message.Message, wheel: Path) -> None:
    # Ours; Swagger UI's; of what is bundled in Swagger UI, the one that is neither of these; and htmx's.
    assert metadata["License-Expression"] == "MIT AND Apache-2.0 AND BSD-3-Clause AND 0BSD"
    files = [
        path for room in ("downstream", "pages") for path in (ROOT / f"metamcp_asgi/{room}/static").glob("LICENSE.*")
    ]
    listed = {"LICENSE", *(path.relative_to(ROOT).as_posix() for path in files)}
    assert len(listed) > 3
    assert set(metadata.get_all("License-File", [])) == listed
    with zipfile.ZipFile(wheel) as archive:
        for name in listed:
            (copy,) = (each for each in archive.namelist() if each.endswith(f".dist-info/licenses/{name}"))
            assert archive.read(copy) == (ROOT / name).read_bytes()


def test_the_sdk_is_not_among_what_is_installed(metadata: email.message.Message) -> None:
    required = {
        re.split(r"[^A-Za-z0-9_-]", line)[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line
    }
    assert required
    assert required & {"mcp", "pydantic", "psycopg"} == set()


def test_a_fresh_environment_runs_the_command(installed: Path, tmp_path: Path) -> None:
    assert __version__ in run(installed / "metamcp", "--version", cwd=tmp_path)
    assert __version__ in run(installed / "python", "-m", "metamcp_asgi", "--version", cwd=tmp_path)
    assert "serve" in run(installed / "metamcp", "--help", cwd=tmp_path)


def test_a_fresh_environment_has_all_that_is_imported(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib, json, pkgutil, metamcp_asgi\n"
        "names = [m.name for m in pkgutil.walk_packages(metamcp_asgi.__path__, 'metamcp_asgi.')]\n"
        "names = [n for n in names if not n.rpartition('.')[2].startswith('_')]\n"
        "extras = ('bus.redis', 'config.jwk', 'supervisor', 'worker', 'outward.fetch', 'tokens.', 'oauth')\n"
        "names = [n for n in names if not n.removeprefix('metamcp_asgi.').startswith(extras)]\n"
        "[importlib.import_module(n) for n in names]\n"
        "[getattr(metamcp_asgi, n) for n in metamcp_asgi.__all__]\n"
        "print(json.dumps([metamcp_asgi.__file__, len(names)]))"
    )
    file, count = json.loads(run(installed / "python", "-I", "-c", code, cwd=tmp_path))
    assert Path(file).is_relative_to(installed.parent)
    assert count > 50


def test_a_fresh_environment_checks_a_configuration(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text('{"mcpServers": {"a": {"comand": "x"}}}')
    done = subprocess.run([installed / "metamcp", "check", config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "command" in done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.json")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    snapshot = load(path, environ={})
    assert len(snapshot.servers) >= 2
    assert snapshot.endpoints
