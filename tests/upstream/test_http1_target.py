"""Where a request goes: URL, configured headers, proxy variables."""

import pytest

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.upstream.http1 import HTTPClient, Target
from metamcp_asgi.upstream.http1_target import ProxyRules
from tests.upstream.http1_peers import client, ok, saying, serving


def target(url: str, *headers: tuple[str, str], **environ: str) -> Target:
    return HTTPClient(environ=environ).target(url, headers)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "path", "authority"),
    [
        ("http://example.com", "example.com", 80, False, "/", "example.com"),
        ("https://Example.com/mcp", "example.com", 443, True, "/mcp", "example.com"),
        ("https://example.com:8443/a?b=c&d=%20#part", "example.com", 8443, True, "/a?b=c&d=%20", "example.com:8443"),
        ("http://example.com:443/", "example.com", 443, False, "/", "example.com:443"),
        ("http://[::1]:3000/mcp", "::1", 3000, False, "/mcp", "[::1]:3000"),
        ("http://my_server:3000/ümlaut?q=ü", "my_server", 3000, False, "/%C3%BCmlaut?q=%C3%BC", "my_server:3000"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, True, "/", "xn--bcher-kva.example"),
        ("http://example.com?key=1", "example.com", 80, False, "/?key=1", "example.com"),
    ],
)
def test_a_url_becomes_origin_path_and_host(
    url: str, host: str, port: int, tls: bool, path: str, authority: str
) -> None:
    made = target(url)
    assert (made.origin.host, made.origin.port, made.origin.tls, made.path) == (host, port, tls, path)
    assert made.tail.startswith(f" {path} HTTP/1.1\r\nHost: {authority}\r\n".encode())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/mcp",
        "example.com/mcp",
        "ftp://example.com/",
        "http://",
        "http:///mcp",
        "http://:80/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://[::1/",
        "http://[zz::1]/",
        "http://exa mple.com/",
        "http://example.com/a b",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com\t/",
        "http://exam<ple.com/",
        "http://example.com/\x7f",
        "http://" + "ü" * 100 + ".example/",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        target(url)


def test_credentials_in_the_url_are_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        target("https://alice:s3cret@example.com/mcp?api_key=hidden")
    assert "Authorization" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("s3cret", "alice", "hidden"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "one\r\nX-Injected: two"),
        ("X-A", "one\ntwo"),
        ("X-A", "nul\x00"),
        ("X-A", "snow ☃"),
        ("X A", "v"),
        ("X-A:", "v"),
        ("", "v"),
        ("X-A\r\nB", "v"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Accept-Encoding", "gzip"),
    ],
)
def test_a_header_that_would_break_the_request_is_refused_without_showing_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        target("http://example.com/", (name, value))
    assert len(value) < 5 or value not in str(caught.value)


async def test_configured_headers_are_sent_as_they_are_and_may_replace_host_and_user_agent() -> None:
    seen = []

    async def talk(peer):
        seen.append(await peer.request())
        await peer.say(ok())

    async with serving(talk) as server, client() as http:
        configured = [("Authorization", "Bearer t"), ("host", "other.example"), ("User-Agent", "mine"), ("X-L", "é ")]
        await http.send(http.target(server.url + "?a=1", configured), b"POST", b"Mcp-Method: ping\r\n", b"{}")
    assert seen == [
        b"POST /mcp?a=1 HTTP/1.1\r\nAuthorization: Bearer t\r\nhost: other.example\r\nUser-Agent: mine\r\n"
        b"X-L: \xe9\r\nMcp-Method: ping\r\nContent-Length: 2\r\n\r\n{}"
    ]


async def test_a_request_without_a_body_has_no_content_length_and_one_with_an_empty_body_has() -> None:
    seen = []

    async def talk(peer):
        while request := await peer.request():
            seen.append(request)
            await peer.say(ok())

    async with serving(talk) as server, client() as http:
        target = http.target(server.url)
        await http.send(target, b"GET")
        await http.send(target, b"POST", b"", b"")
        await http.send(target, b"POST", b"", big := b"x" * 3_000_000)
    assert seen[0].startswith(b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"User-Agent: metamcp-asgi\r\n" in seen[0]
    assert b"Content-Length" not in seen[0]
    assert seen[1].endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert seen[2].endswith(b"\r\nContent-Length: 3000000\r\n\r\n" + big)


def test_a_target_does_not_show_its_secrets() -> None:
    shown = repr(target("https://example.com/mcp?key=s3cret", ("Authorization", "Bearer s3cret")))
    assert "example.com:443" in shown
    assert "s3cret" not in shown


def proxied(host: str, no_proxy: str = "", port: int = 443) -> bool:
    rules = ProxyRules({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": no_proxy})
    return rules.proxy_for(host, port, tls=True) is not None


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("localhost", ""),
        ("app.localhost", ""),
        ("127.0.0.1", ""),
        ("127.8.9.1", ""),
        ("::1", ""),
        ("any.example", "*"),
        ("any.example", "other, *"),
        ("example.com", "example.com"),
        ("example.com", "EXAMPLE.com"),
        ("api.example.com", "example.com"),
        ("api.example.com", ".example.com"),
        ("api.example.com", "*.example.com"),
        ("example.com", "a.b c.d,example.com:443"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::7", "2001:db8::/32"),
        ("2001:db8::7", "[2001:db8::7]:443"),
    ],
)
def test_no_proxy_and_loopback_go_direct(host: str, no_proxy: str) -> None:
    assert not proxied(host, no_proxy)


@pytest.mark.parametrize(
    ("host", "no_proxy"),
    [
        ("example.com", ""),
        ("notexample.com", "example.com"),
        ("example.com", "api.example.com"),
        ("example.com", "example.com:8443"),
        ("10.1.2.3", "11.0.0.0/8"),
        ("2001:db8::7", "2001:db9::/32"),
        ("10.1.2.3", "nonsense/8"),
        ("example.com", " , ,"),
    ],
)
def test_everything_else_goes_to_the_proxy(host: str, no_proxy: str) -> None:
    assert proxied(host, no_proxy)


def test_each_scheme_has_its_own_variable_and_the_lower_case_one_wins() -> None:
    environ = {"HTTP_PROXY": "upper:1", "http_proxy": "http://lower:2", "HTTPS_PROXY": "http://secure:3"}
    rules = ProxyRules(environ)
    plain, secure = rules.proxy_for("a.example", 80, tls=False), rules.proxy_for("a.example", 443, tls=True)
    assert plain is not None
    assert secure is not None
    assert (plain.name, secure.name) == ("lower:2", "secure:3")
    assert ProxyRules({"HTTP_PROXY": "http://p:1"}).proxy_for("a.example", 443, tls=True) is None


def test_a_cgi_environment_cannot_set_the_proxy_by_a_request_header() -> None:
    assert ProxyRules({"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}).proxy_for("a.b", 80, tls=False) is None


@pytest.mark.parametrize("url", ["https://proxy.example:3128", "socks5://proxy.example", "http://", "http://a:b:c@x:y"])
def test_an_unusable_proxy_is_an_error_that_names_the_variable(url: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        target("https://example.com/", HTTPS_PROXY=url)


def test_a_proxy_password_is_not_shown() -> None:
    rules = ProxyRules({"HTTPS_PROXY": "http://alice:s3cret@proxy:3128"})
    proxy = rules.proxy_for("example.com", 443, tls=True)
    assert proxy is not None
    assert proxy.authorization == b"Proxy-Authorization: Basic YWxpY2U6czNjcmV0\r\n"
    assert "s3cret" not in repr(proxy)
    assert "YWxp" not in repr(proxy)


async def test_servers_of_one_origin_share_connections() -> None:
    async with serving(saying(ok(), ok())) as server, client() as http:
        await http.send(http.target(server.url, [("X-A", "1")]), b"GET")
        await http.send(http.target(server.url + "/other"), b"GET")
        assert len(server.peers) == 1
