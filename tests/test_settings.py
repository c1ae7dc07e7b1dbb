"""Settings from the environment and ``.env``."""

import base64
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.settings import Settings, read_environment

RAW = bytes(range(32))


def settings(**environ: str) -> Settings:
    return Settings.from_environ(environ, dotenv=None)


def test_nothing_set_gives_the_defaults() -> None:
    assert settings() == Settings()
    assert (Settings().host, Settings().port) == ("127.0.0.1", 12008)


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("METAMCP_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("METAMCP_HOST", "[::1]", "host", "::1"),
        ("METAMCP_PORT", " 80 ", "port", 80),
        ("METAMCP_PORT", "0", "port", 0),
        ("METAMCP_PORT", "", "port", 12008),
        ("APP_URL", "https://mcp.example.com/", "app_url", "https://mcp.example.com"),
        ("METAMCP_ALLOWED_HOSTS", "A.example, localhost:8080,", "allowed_hosts", ("a.example", "localhost:8080")),
        ("METAMCP_ALLOWED_HOSTS", "[::1]:80", "allowed_hosts", ("[::1]:80",)),
        ("METAMCP_ALLOWED_ORIGINS", "https://A.example/", "allowed_origins", ("https://a.example",)),
        ("EXTRA_TRUSTED_ORIGINS", "http://a,http://b:1", "allowed_origins", ("http://a", "http://b:1")),
        ("METAMCP_SECRET_KEYS", RAW.hex(), "secret_keys", (RAW,)),
        ("METAMCP_SECRET_KEYS", base64.b64encode(RAW).decode(), "secret_keys", (RAW,)),
        ("METAMCP_SECRET_KEYS", base64.urlsafe_b64encode(b"\xff" * 33).decode(), "secret_keys", (b"\xff" * 33,)),
        ("METAMCP_SECRET_KEYS", "my dog has eleven fleas, no more: honest!".replace(",", ""), "secret_keys",
         (b"my dog has eleven fleas no more: honest!",)),
        ("METAMCP_SECRET_KEYS", f"{RAW.hex()}, {RAW[::-1].hex()}", "secret_keys", (RAW, RAW[::-1])),
        ("LOG_LEVEL", "all", "log_level", "debug"),
        ("LOG_LEVEL", "errors-only", "log_level", "error"),
        ("LOG_LEVEL", "NONE", "log_level", "none"),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("METAMCP_ACCESS_LOG", "Yes", "access_log", True),
        ("METAMCP_ACCESS_LOG", "y", "access_log", True),
        ("METAMCP_ACCESS_LOG", "OFF", "access_log", False),
        ("TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL", "true", "transform_localhost", True),
        ("METAMCP_MAX_BODY_BYTES", "1048576", "max_body_bytes", 1048576),
        ("METAMCP_MAX_HEADER_BYTES", "8192", "max_header_bytes", 8192),
        ("METAMCP_MAX_JSON_DEPTH", "32", "max_json_depth", 32),
        ("METAMCP_MAX_STREAMS", "1", "max_streams", 1),
        ("METAMCP_MAX_CHILDREN", "1", "max_children", 1),
        ("METAMCP_WARM_SPARES", "true", "warm_spares", True),
        ("METAMCP_REDIS_URL", "rediss://:p@redis.example:6380/1", "redis_url", "rediss://:p@redis.example:6380/1"),
        ("REDIS_URL", "unix:///run/redis.sock", "redis_url", "unix:///run/redis.sock"),
        ("REDIS_URL", "redis+sentinel://a:1,b/main/0", "redis_url", "redis+sentinel://a:1,b/main/0"),
        ("METAMCP_REDIS_PREFIX", "team-a", "redis_prefix", "team-a"),
        ("METAMCP_LIMITS_WITHOUT_REDIS", "refuse", "limits_without_redis", "refuse"),
        ("METAMCP_STDIO_SOCKET", "/run/metamcp/stdio", "stdio_socket", Path("/run/metamcp/stdio")),
        ("METAMCP_SERVER_DEADLINE", "0.5", "server_deadline", 0.5),
        ("METAMCP_POLL_SECONDS", "60", "poll_seconds", 60.0),
        ("METAMCP_PAGE_SIZE", "10", "page_size", 10),
        ("METAMCP_STALE_SECONDS", "1", "stale_seconds", 1.0),
        ("METAMCP_KEEPALIVE_SECONDS", "5", "keepalive_seconds", 5.0),
        ("METAMCP_CONNECT_CONCURRENCY", "2", "connect_concurrency", 2),
        ("METAMCP_SESSION_IDLE_SECONDS", "1", "session_idle_seconds", 1.0),
        ("METAMCP_FORWARD_BAGGAGE", "true", "forward_baggage", True),
    ],
)  # fmt: skip
def test_a_variable(name: str, text: str, field: str, value: object) -> None:
    given = settings(**{name: text})
    assert getattr(given, field) == value
    others = [other for other in Settings.__struct_fields__ if other != field]
    assert all(getattr(given, other) == getattr(Settings(), other) for other in others)


def test_every_field_has_a_variable(caplog: pytest.LogCaptureFixture) -> None:
    own = {"app_url", "log_level", "transform_localhost"}
    names = {f"METAMCP_{field.upper()}": "" for field in Settings.__struct_fields__ if field not in own}
    settings(**names, APP_URL="", LOG_LEVEL="", TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL="")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("METAMCP_HOST", "http://x/", "address or a host name"),
        ("METAMCP_PORT", "65536", "from 0 to 65535"),
        ("METAMCP_PORT", "http", "whole number"),
        ("METAMCP_PORT", "-1", "whole number"),
        ("APP_URL", "mcp.example.com", "http:// or https://"),
        ("APP_URL", "http://[::1", "http:// or https://"),
        ("APP_URL", "http://u:p@x", "without user"),
        ("METAMCP_ALLOWED_HOSTS", "http://x", "host names separated by commas"),
        ("METAMCP_ALLOWED_ORIGINS", "example.com", "https://app.example.com"),
        ("METAMCP_ALLOWED_HOSTS", ",", "host names separated by commas"),
        ("EXTRA_TRUSTED_ORIGINS", "https://example.com/path", "no path"),
        ("EXTRA_TRUSTED_ORIGINS", "https://*.example.com", "no *"),
        ("METAMCP_SECRET_KEYS", " , ", "has no key"),
        ("LOG_LEVEL", "verbose", "errors-only"),
        ("METAMCP_ACCESS_LOG", "maybe", "must be 1, true, yes"),
        ("TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL", "2", "must be 1, true, yes"),
        ("METAMCP_MAX_BODY_BYTES", "4MiB", "whole number of at least 1024"),
        ("METAMCP_MAX_CHILDREN", "0", "at least 1"),
        ("METAMCP_REDIS_URL", "redis.example:6379", "redis://host:6379/0"),
        ("METAMCP_REDIS_PREFIX", "{tag}", "letters"),
        ("METAMCP_LIMITS_WITHOUT_REDIS", "open", '"local"'),
        ("METAMCP_PAGE_SIZE", "9" * 40, "whole number"),
        ("METAMCP_SERVER_DEADLINE", "0", "greater than 0"),
        ("METAMCP_SERVER_DEADLINE", "nan", "seconds"),
        ("METAMCP_STALE_SECONDS", "inf", "seconds"),
        ("METAMCP_KEEPALIVE_SECONDS", "15s", "seconds"),
    ],
)
def test_a_bad_value_names_its_variable_and_what_would_be_right(name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{name: text})
    assert caught.value.path == name
    assert words in caught.value.reason


def test_a_short_secret_is_refused_without_telling_it() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(METAMCP_SECRET_KEYS=f"{RAW.hex()},changeme-changeme")
    assert caught.value.path == "METAMCP_SECRET_KEYS"
    assert "key 2" in caught.value.reason
    assert "changeme" not in str(caught.value)
    assert RAW.hex() not in str(caught.value)


def test_secrets_are_kept_out_of_repr() -> None:
    shown = repr(settings(METAMCP_SECRET_KEYS="correct-horse-battery-staple-correct"))
    assert "horse" not in shown
    assert "secret_keys=<1 hidden>" in shown
    assert "port=12008" in shown


def test_origins_of_both_variables_are_allowed() -> None:
    given = settings(METAMCP_ALLOWED_ORIGINS="https://a", EXTRA_TRUSTED_ORIGINS="https://b")
    assert given.allowed_origins == ("https://a", "https://b")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("METAMCP_MAX_BODY_BYTE", "did you mean METAMCP_MAX_BODY_BYTES?"),
        ("METAMCP_APP_URL", "did you mean APP_URL?"),
        ("METAMCP_QQQQ", "ignored"),
    ],
)
def test_an_unknown_variable_of_ours_is_a_warning(name: str, hint: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert settings(**{name: "s3cr3t"}) == Settings()
    (warning,) = caplog.messages
    assert name in warning
    assert hint in warning
    assert "s3cr3t" not in warning


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# ours\nexport METAMCP_PORT=1\nMETAMCP_HOST='::1'\nTOKEN=\"a b\"\nBARE\n", encoding="utf-8")
    given = Settings.from_environ({"METAMCP_PORT": "2"}, dotenv)
    assert (given.port, given.host) == (2, "::1")
    variables = read_environment({"METAMCP_PORT": "2"}, dotenv)
    assert variables == {"METAMCP_PORT": "2", "METAMCP_HOST": "::1", "TOKEN": "a b"}


def test_a_file_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert Settings.from_environ({}, tmp_path / ".env") == Settings()


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Settings.from_environ({}, tmp_path / ".env")


def test_neither_yaml_nor_dotenv_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; from metamcp_asgi.settings import Settings; from metamcp_asgi.config.file import load;"
        f"Settings.from_environ(); load({str(Path(__file__).parents[1] / 'examples' / 'mcp.json')!r});"
        "sys.exit(', '.join({'yaml', 'dotenv', 'mcp'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_our_own_variable_for_redis_wins_and_is_never_shown() -> None:
    found = settings(METAMCP_REDIS_URL="redis://:hush-hush@ours:1", REDIS_URL="redis://theirs:1")
    assert found.redis_url == "redis://:hush-hush@ours:1"
    assert "hush-hush" not in repr(found)
    with pytest.raises(ConfigError) as caught:
        settings(REDIS_URL="http://:hush-hush@ours:1")
    assert "hush-hush" not in str(caught.value)
