"""How what a registry lists becomes a command line or a URL, and what cannot become one."""

from typing import Any

import msgspec
import pytest

from metamcp_asgi.registry.listed import Listed, Unreadable, read_page
from metamcp_asgi.registry.ways import Way, WrongAnswer, ways_of
from tests.registry.listing import HOSTED, WEATHER


def listed(**what: Any) -> Listed:
    return msgspec.convert({"name": "a/b", "version": "1", **what}, Listed)


def package(**what: Any) -> Way:
    given = {"registryType": "npm", "identifier": "pkg", "version": "1.0.0", "transport": {"type": "stdio"}, **what}
    (way,) = ways_of(listed(packages=[given]))
    return way


def test_an_npm_package_is_run_with_its_arguments_and_variables() -> None:
    way, mcpb = ways_of(msgspec.convert(WEATHER, Listed))
    assert [question.key for question in way.questions] == ["env.WEATHER_KEY", "argument.1", "argument.2.folder"]
    assert way.fixed == [("LOG_LEVEL", "warn")]
    assert way.shown == "npx -y @user/weather@1.0.2 serve --units=<units> --folder=/data/<folder>"
    assert way.entry({"env.WEATHER_KEY": "k", "argument.2.folder": "a b"}) == {
        "type": "stdio",
        "command": "npx",
        "args": ["-y", "@user/weather@1.0.2", "serve", "--units=metric", "--folder=/data/a b"],
        "env": {"WEATHER_KEY": "k", "LOG_LEVEL": "warn"},
    }
    # What is optional and not answered is left out, with its flag.
    assert way.entry({"env.WEATHER_KEY": "k", "argument.1": ""})["args"] == ["-y", "@user/weather@1.0.2", "serve"]
    assert mcpb.obstacle


def test_an_answer_that_is_missing_or_not_one_of_the_choices_is_named() -> None:
    way, _ = ways_of(msgspec.convert(WEATHER, Listed))
    with pytest.raises(WrongAnswer, match=r"env\.WEATHER_KEY: is needed"):
        way.entry({})
    with pytest.raises(WrongAnswer, match=r"argument\.1: must be one of metric, imperial"):
        way.entry({"env.WEATHER_KEY": "k", "argument.1": "stone"})


def test_a_remote_server_is_reached_with_its_headers() -> None:
    (way,) = ways_of(msgspec.convert(HOSTED, Listed))
    assert [(question.label, question.secret) for question in way.questions] == [("token", True), ("tenant", False)]
    assert way.shown == "https://<tenant>.example.com/mcp"
    assert way.fixed == [("Authorization", "Bearer <token>")]
    assert way.entry({"header.Authorization.token": "t"}) == {
        "type": "streamable_http",
        "url": "https://acme.example.com/mcp",
        "headers": {"Authorization": "Bearer t"},
    }


def test_packages_of_pypi_and_images_are_run_by_their_runners() -> None:
    pypi = package(registryType="pypi", runtimeArguments=[{"type": "named", "name": "--python", "value": "3.13"}])
    assert pypi.shown == "uvx --python=3.13 pkg@1.0.0"
    variables = [{"name": "KEY", "isRequired": True}]
    image = package(
        registryType="oci",
        identifier="ghcr.io/user/app",
        environmentVariables=variables,
        runtimeArguments=[{"type": "positional", "value": "run"}, {"type": "named", "name": "-v", "value": "/a:/a"}],
    )
    assert image.shown == "docker run -i --rm -e KEY -v /a:/a ghcr.io/user/app:1.0.0"
    assert image.entry({"env.KEY": "k"})["env"] == {"KEY": "k"}
    for place in ("docker.io/user/app:2.0", "localhost:5000/app@sha256:0123"):
        assert package(registryType="oci", identifier=place).shown.endswith(place)


@pytest.mark.parametrize(
    "what",
    [
        {"identifier": "--call=id"},
        {"identifier": "git+https://example.com/x.git"},
        {"identifier": "pkg", "version": "1 --call id"},
        {"registryType": "oci", "identifier": "-v/:/host"},
        {"registryType": "pypi", "identifier": "../pkg"},
        {"registryBaseUrl": "https://npm.example.com"},
        {"registryBaseUrl": "http://["},
        {"registryType": "nuget"},
        {"transport": {"type": "streamable-http", "url": "http://127.0.0.1:8080/mcp"}},
        {"environmentVariables": [{"name": "A=B"}]},
        {"environmentVariables": [{"name": "npm_config_registry", "value": "https://npm.example.com"}]},
        {"environmentVariables": [{"name": "Node_Options", "value": "--require=/tmp/x.js"}]},
        {"registryType": "pypi", "environmentVariables": [{"name": "UV_INDEX_URL", "value": "https://example.com"}]},
        {"registryType": "pypi", "environmentVariables": [{"name": "PYTHONPATH"}]},
        {"registryType": "oci", "environmentVariables": [{"name": "DOCKER_HOST", "value": "tcp://example.com"}]},
        {"environmentVariables": [{"name": "PATH", "value": "/tmp"}]},
        {"environmentVariables": [{"name": "LD_PRELOAD", "value": "/tmp/x.so"}]},
    ],
)
def test_what_could_run_something_else_is_not_offered(what: dict[str, Any]) -> None:
    way = package(**what)
    assert way.obstacle
    assert not way.command


def test_one_entry_that_is_wrong_hides_no_other() -> None:
    entries = [
        {"server": {"name": 7}},
        {"server": {"name": "a/nul", "version": "1", "description": "\0"}},
        {"server": {"name": "a/b", "version": "1", "packages": None, "new": {"field": 1}}},
        {"server": {"name": "a/c", "version": "1"}, "_meta": {"io.modelcontextprotocol.registry/official": None}},
        {
            "server": {"name": "a/gone", "version": "1"},
            "_meta": {"io.modelcontextprotocol.registry/official": {"status": "deleted"}},
        },
    ]
    page = read_page(msgspec.json.encode({"servers": entries, "metadata": {"nextCursor": ""}}))
    assert [server.name for server in page.servers] == ["a/b", "a/c"]
    assert page.following is None


def test_what_is_nested_too_deeply_cannot_be_read() -> None:
    remote = b'{"variables":{"a":' * 50_000 + b"{}" + b"}}" * 50_000
    entry = b'{"server": {"name": "a/b", "version": "1", "remotes": [%b]}}' % remote
    with pytest.raises(Unreadable):
        read_page(b'{"servers": [%b]}' % entry)
