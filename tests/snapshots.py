"""Generated snapshots, as a configuration file could have given them, with texts that are hard to write down."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import strategies as st
from msgspec import structs

from metamcp_asgi.config.snapshot import (
    ClientRateLimit,
    Endpoint,
    GrantSpec,
    Key,
    MiddlewareSpec,
    Namespace,
    OAuth,
    Principal,
    RateLimit,
    Sandbox,
    Server,
    Snapshot,
    ToolOverride,
)

SECRET = "ghp_0123456789abcdefABCDEF0123456789"
PRIVATE_KEY = (
    ec.derive_private_key(7, ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)

# Texts with everything that means something in a document, in YAML or in an .env file.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["${A}", "$${A}", "${", "$", "${A:-b}", "yes", "null", "1", "2025-01-01", "=", "<<", "- a", "# b", "a: b", "'\"\\",
     " x ", "\n", "\r\n", "\u2028", "~", "0x1F", "1e3", SECRET, f"--token={SECRET}", "--token", "a$", "Bearer x"]
)  # fmt: skip
SOME = TEXT.filter(bool)
NAME = st.text("abAB01_-", min_size=1, max_size=6)
SERVER_NAME = NAME.filter(lambda name: "__" not in name and not name.endswith("_"))
HEADER_VALUE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12
).map(lambda text: "".join(character for character in text if not 0x7F <= ord(character) < 0xA0))
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Authorization", "authorization", "X-Key", "accept", "x-team"]),
        HEADER_VALUE | st.sampled_from([f"Bearer {SECRET}", "Bearer ${A}", "application/json"]),
    ),
    unique_by=lambda pair: pair[0].lower(),
    max_size=4,
).map(tuple)
URL = st.sampled_from(
    ["http://localhost/mcp", "https://h.example/s/" + SECRET + "/mcp", "https://h.example/mcp?api_key=abc&team=x$",
     "https://h.example/mcp?a=${A}", "http://h.example/$?token=t", "http://h.example/?token=${A"]
)  # fmt: skip
PATHS = st.lists(st.sampled_from(["/srv/data", "~/notes", "/x/${A}"]), unique=True, max_size=2).map(tuple)
SANDBOX = st.none() | st.builds(Sandbox, network=st.booleans(), read=PATHS, write=PATHS)
GRANT = (
    st.none()
    | st.just(GrantSpec(key="", flow="none"))
    | st.builds(GrantSpec, key=st.just(""), per=st.sampled_from(["server", "user"]), scopes=PATHS)
    | st.builds(
        GrantSpec,
        key=st.just(""),
        flow=st.sampled_from(["authorization_code", "client_credentials"]),
        client_id=st.sampled_from(["id", "$${A}"]),
        client_secret=st.sampled_from([SECRET, "${A}"]),
    )
    | st.builds(
        GrantSpec,
        key=st.just(""),
        client_id=st.just("id"),
        private_key=st.sampled_from([PRIVATE_KEY, f"\n{PRIVATE_KEY}\n"]),
        key_id=st.sampled_from([None, "one", "${A}"]),
        algorithm=st.sampled_from([None, "ES256"]),
    )
)
COMMON = {
    "description": TEXT,
    "era": st.sampled_from(["auto", "legacy"]),
    "sharing": st.sampled_from(["auto", "call"]),
    "timeout": st.floats(0.001, 2**52) | st.just(60.0),
    "disabled": st.booleans(),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OVERRIDE = st.builds(
    ToolOverride,
    enabled=st.just(False),
    name=st.none() | st.just("x"),
    title=st.none() | SOME,
    description=st.none() | TEXT,
    annotations=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
)
SECONDS = st.integers(1, 10**6).map(float) | st.floats(1, 1e9)


@st.composite
def servers(draw: st.DrawFn, name: str) -> Server:
    common = draw(st.fixed_dictionaries(COMMON))
    if draw(st.booleans()):
        return Server(
            name=name,
            type="stdio",
            command=draw(SOME),
            args=tuple(draw(st.lists(TEXT, max_size=4))),
            env=tuple(draw(st.dictionaries(SOME.filter(lambda text: "=" not in text), TEXT, max_size=3)).items()),
            cwd=draw(st.none() | SOME),
            sandbox=draw(SANDBOX),
            **common,
        )
    kind: Any = draw(st.sampled_from(["sse", "streamable_http"]))
    headers, grant = draw(HEADERS), draw(GRANT)
    if grant is not None:
        authorized = any(header.lower() == "authorization" for header, _ in headers)
        grant = None if authorized else structs.replace(grant, key=name)
    return Server(name=name, type=kind, url=draw(URL), headers=headers, grant=grant, **common)


SCOPES = st.lists(st.sampled_from(["admin", "files:write", "a"]), unique=True, max_size=2).map(tuple)
TOOL_SCOPES = st.dictionaries(st.sampled_from(["a__b", "x__*"]), SCOPES, max_size=2).map(lambda d: tuple(d.items()))
OAUTH = st.builds(OAuth, scopes=SCOPES, tool_scopes=TOOL_SCOPES) | st.builds(
    OAuth,
    issuer=st.just("https://idp.example/realms/x"),
    audiences=st.lists(st.sampled_from(["api://a", "b"]), unique=True, max_size=2).map(tuple),
    scopes=SCOPES,
    tool_scopes=TOOL_SCOPES,
    jwks_uri=st.sampled_from(["", "https://idp.example/keys"]),
    principal_claim=st.sampled_from(["sub", "oid"]),
    name_claim=st.sampled_from(["", "upn"]),
    groups_claim=st.sampled_from(["groups", "realm_access.roles"]),
    groups=st.none() | st.dictionaries(SOME, SCOPES, max_size=2).map(lambda groups: tuple(groups.items())),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    names = draw(st.lists(SERVER_NAME, unique=True, max_size=4))
    namespaces = {}
    for name in draw(st.lists(NAME, unique=True, max_size=3)):
        members = tuple(draw(st.lists(st.sampled_from(names), unique=True))) if names else ()
        tools = st.tuples(st.sampled_from(members or ("-",)), SOME)
        namespaces[name] = Namespace(
            name=name,
            servers=members,
            description=draw(TEXT),
            prefix=draw(st.sampled_from(["always", "never", "on-collision"])),
            tools=draw(st.dictionaries(tools, OVERRIDE, max_size=3 if members else 0)),
            middlewares=tuple(draw(st.lists(st.builds(MiddlewareSpec, SOME, st.dictionaries(SOME, JSON)), max_size=2))),
        )
    endpoints = {
        name: Endpoint(
            name=name,
            namespace=draw(st.sampled_from(sorted(namespaces))),
            api_key_auth=draw(st.booleans()),
            oauth=draw(st.none() | OAUTH),
            query_param_auth=draw(st.booleans()),
            rate_limit=draw(st.none() | st.builds(RateLimit, st.integers(1, 10**6), SECONDS)),
            client_rate_limit=draw(
                st.none()
                | st.builds(
                    ClientRateLimit, st.integers(1, 10**6), SECONDS, st.none() | st.sampled_from(["x-a", "via"])
                )
            ),
        )
        for name in (draw(st.lists(NAME, unique=True, max_size=3)) if namespaces else ())
    }
    keys = {}
    for name, digest in draw(st.dictionaries(SOME, st.binary(min_size=32, max_size=32), max_size=3)).items():
        opened = st.none() | st.frozensets(st.sampled_from(sorted(endpoints) or ["-"]), max_size=2 if endpoints else 0)
        keys[digest] = Key(digest, Principal.of_key(name, name, digest), draw(opened))
    return Snapshot(
        servers={name: draw(servers(name)) for name in names}, namespaces=namespaces, endpoints=endpoints, keys=keys
    )
