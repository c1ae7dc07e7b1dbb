"""Copies what MetaMCP's database holds into the store, within a transaction of the caller's.

Ids stay, so that a copy can be repeated: what is there already is left alone, or brought up to date if asked for.
What changes its form or can't be taken over is told. Knows MetaMCP's columns and ours; reads no database itself.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from metamcp_asgi.config.dialects import Needs, literal, metamcp_env
from metamcp_asgi.config.foreign_entry import read_entry
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.servers import compile_server
from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.keys import describe_key
from metamcp_asgi.store.limits import LONGEST_HEADER, LONGEST_NAME, LONGEST_OWN_NAME
from metamcp_asgi.store.metamcp_rows import Copied, Copying
from metamcp_asgi.store.metamcp_source import MetaMCPDatabase
from metamcp_asgi.store.models import (
    ApiKey,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    Setting,
    ToolSetting,
    User,
)
from metamcp_asgi.store.scope import server_columns
from metamcp_asgi.store.transaction import Writer

__all__ = ["copy"]

_USERS: Final = uuid.UUID("5f2b6c1e-2d8a-4c53-9d0e-6a1f0b7c3e94")
"""MetaMCP's users have texts for ids; ours are made from them, always the same."""

_LONGEST_PERSON: Final = 200
_LONGEST_CLIENT: Final = 255
_LONGEST_TIMEOUT: Final = 86_400_000
"""Milliseconds; MetaMCP's own limit."""
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_CLIENT: Final = ("client_id", "client_secret", "client_name", "redirect_uris", "created_at", "updated_at")
_SIGNUP: Final = {
    "DISABLE_SIGNUP": "allowSignup",
    "DISABLE_SSO_SIGNUP": "allowSsoSignup",
    "DISABLE_BASIC_AUTH": "allowPasswordSignIn",
}
"""MetaMCP's settings that ours say the other way round; without a row, it lets everybody register."""
_SETTINGS: Final = {
    "MCP_MAX_TOTAL_TIMEOUT": "a call may take as long as it makes progress here; see `timeout` of servers",
    "MCP_RESET_TIMEOUT_ON_PROGRESS": "progress always restarts the time here",
    "MCP_MAX_ATTEMPTS": "a server that ends is always started again here",
    "SESSION_LIFETIME": "idle sessions cost nothing here; see METAMCP_SESSION_IDLE_SECONDS for servers' sessions",
}
"""What is here instead of MetaMCP's other settings."""
_TIMEOUT: Final = "MCP_TIMEOUT"
_INTERNAL: Final = "BOOTSTRAP_"
"""Rows that its start keeps for itself."""
_DROPPED: Final = {
    "sessions": "logins: people log in again",
    "verifications": "verifications in progress",
    "oauth_authorization_codes": "OAuth codes, which live for minutes",
    "oauth_access_tokens": "OAuth access tokens, which live for an hour: clients ask for new ones",
}


async def copy(
    tx: Writer, source: MetaMCPDatabase, *, update: bool = False, environ: Mapping[str, str] | None = None
) -> Copied:
    """Copy everything that we have a place for.

    Args:
        tx: The transaction.
        source: What MetaMCP has.
        update: Whether rows of an earlier copy are made again what MetaMCP has now.
        environ: Variables for values of ``env`` that are ``${VAR}``; MetaMCP takes them from its own environment.

    Raises:
        StoreError: A name or key is taken by something that was not copied.
    """
    copying = _Copying(tx, source, update, environ or {})
    await copying.users()
    await copying.servers()
    await copying.credentials()
    await copying.namespaces()
    await copying.memberships()
    await copying.tools()
    await copying.endpoints()
    await copying.keys()
    await copying.clients()
    await copying.settings()
    for table, count in source.counts.items():
        if count:
            copying.remark("lost", table, f"{count} {_DROPPED[table]}")
    return copying.copied


class _Copying(Copying):
    def __init__(self, tx: Writer, source: MetaMCPDatabase, update: bool, environ: Mapping[str, str]) -> None:
        super().__init__(tx, update=update)
        self.rows = source.rows
        self.environ = environ
        self.owners: dict[str | None, uuid.UUID | None] = {None: None}
        milliseconds = next((str(row["value"]) for row in source.rows["config"] if row["id"] == _TIMEOUT), "")
        good = milliseconds.isdecimal() and 1 <= int(milliseconds) <= _LONGEST_TIMEOUT
        self.timeout = int(milliseconds) / 1000 if good else None

    async def users(self) -> None:
        passwords = {
            account["user_id"]: account["password"]
            for account in self.rows["accounts"]
            if account["provider_id"] == "credential" and account["password"]
        }
        admin = await self.tx.find(User, role="admin") is None
        for given in self.rows["users"]:
            identity = uuid.uuid5(_USERS, given["id"])
            what = f"user {given['email']}"
            there = await self.tx.find(User, email=given["email"].strip().lower())
            if there is not None and there.id != identity:
                self.remark("changed", what, "is here already, with a password of their own; their things are theirs")
                self.owners[given["id"]] = there.id
                continue
            password = passwords.get(given["id"])
            columns = {
                "email": given["email"],
                "name": (given["name"] or "")[:_LONGEST_PERSON],
                "password_hash": password,
            }
            if there is None:
                columns["role"] = "admin" if admin else "member"
                self.remark("changed", what, f"is {'an admin, being the first' if admin else 'a member'}: "
                            "MetaMCP has no roles; see: metamcp users role")  # fmt: skip
                admin = False
            elif there.password_hash and password and there.password_hash.startswith("$"):
                # They logged in here since, which made a better hash of the same password.
                del columns["password_hash"]
            if password is None:
                self.remark("lost", what, "has no password in MetaMCP (logs in elsewhere), and has none here")
            columns["email"] = given["email"].strip().lower()
            await self.put(User, identity, columns)
            self.owners[given["id"]] = identity

    async def servers(self) -> None:
        for given in self.rows["mcp_servers"]:
            owner = self.owners.get(given["user_id"])
            name = await self.free_name(Server, given, owner)
            what = f"server {name}"
            entry = {key: given[key] for key in ("type", "command", "args", "env", "url", "headers", "description")}
            entry["bearerToken"] = given["bearer_token"]
            if not given["command"] and given["url"] and given["type"] == "STDIO":
                # Its import makes such rows of entries that have only a URL (dossier B25).
                del entry["type"]
            needs = Needs()

            def note(kind: Any, text: str, what: str = what) -> None:
                self.remark(kind, what, text)

            read = read_entry(name, entry, {"": literal, "env": metamcp_env}, needs, note)
            if read is None:
                continue
            unset = [variable for variable in needs.variables if not self.environ.get(variable)]
            for variable in needs.variables:
                said = "is not set here, so the reference stays as plain text" if variable in unset else "is put in"
                self.remark("lost" if variable in unset else "changed", what, f"the variable {variable} {said}")
            environ = {**self.environ, **{variable: f"${{{variable}}}" for variable in unset}}
            columns, secrets = server_columns(compile_server(name, Node(read.fields, environ)))
            columns |= {"owner_id": owner, "name": name}
            if self.timeout is not None:
                columns["timeout"] = self.timeout
            await self.put(Server, given["uuid"], columns, secrets)

    async def credentials(self) -> None:
        for given in self.rows["oauth_sessions"]:
            server = given["mcp_server_uuid"]
            if server not in self.here[Server] or not (given["tokens"] or given["client_information"]):
                continue
            row = await self.put(Credential, given["uuid"], {"server_id": server})
            url = next(row["url"] for row in self.rows["mcp_servers"] if row["uuid"] == server)
            value = {"tokens": given["tokens"], "client_information": given["client_information"], "url": url}
            if row.sealed is None or (self.update and self.tx.credential(row) != value):
                self.tx.set_credential(row, value)

    async def namespaces(self) -> None:
        for given in self.rows["namespaces"]:
            owner = self.owners.get(given["user_id"])
            name = await self.free_name(Namespace, given, owner)
            columns = {"owner_id": owner, "name": name, "description": given["description"] or ""}
            await self.put(Namespace, given["uuid"], columns)

    async def memberships(self) -> None:
        position: dict[uuid.UUID, int] = {}
        for given in self.rows["namespace_server_mappings"]:
            namespace, server = given["namespace_uuid"], given["mcp_server_uuid"]
            if server not in self.here[Server] or namespace not in self.here[Namespace]:
                continue
            place = position[namespace] = position.get(namespace, -1) + 1
            active = given["status"] == "ACTIVE"
            columns = {"namespace_id": namespace, "server_id": server, "position": place, "active": active}
            await self.put(Membership, given["uuid"], columns)

    async def tools(self) -> None:
        names = {tool["uuid"]: tool["name"] for tool in self.rows["tools"]}
        there = {row.id for row in await self.tx.list(ToolSetting)}
        published: set[tuple[uuid.UUID, uuid.UUID, str]] = set()
        for given in self.rows["namespace_tool_mappings"]:
            namespace, server = given["namespace_uuid"], given["mcp_server_uuid"]
            tool = names.get(given["tool_uuid"])
            if tool is None or server not in self.here[Server] or namespace not in self.here[Namespace]:
                continue
            enabled = given["status"] == "ACTIVE"
            what = f"tool {tool[:LONGEST_NAME]}"
            if len(tool) > LONGEST_OWN_NAME:
                self.remark("lost", what, f"its switch: its name is longer than {LONGEST_OWN_NAME} characters")
                continue
            name = given.get("override_name") or None
            if name is not None and (not _TOOL_NAME.fullmatch(name) or (namespace, server, name) in published):
                self.remark("lost", what, f"its new name {name!r} is no name for a tool, or another tool's")
                name = None
            published.add((namespace, server, name or tool))
            overrides = {
                "name": name,
                "title": given.get("override_title") or None,
                "description": given.get("override_description") or None,
                "annotations": self._annotations(given.get("override_annotations"), what),
            }
            if enabled and given["uuid"] not in there and all(value is None for value in overrides.values()):
                # MetaMCP keeps a row for every tool it ever saw; one that changes nothing is none here.
                continue
            columns = {"namespace_id": namespace, "server_id": server, "tool": tool, "enabled": enabled, **overrides}
            await self.put(ToolSetting, given["uuid"], columns)

    def _annotations(self, given: Any, what: str) -> dict[str, Any] | None:
        if not isinstance(given, dict) or not given:
            return None
        inner = given.get("annotations")
        if len(given) == 1 and isinstance(inner, dict):
            # As MetaMCP's README has it, which makes it publish "annotations" within the annotations.
            self.remark("changed", what, 'its annotations were within another "annotations"')
            return inner or None
        return given

    async def endpoints(self) -> None:
        for given in self.rows["endpoints"]:
            if given["namespace_uuid"] not in self.here[Namespace]:
                continue
            what = f"endpoint {given['name']}"
            columns: dict[str, Any] = {
                "owner_id": self.owners.get(given["user_id"]),
                "name": given["name"],
                "description": given["description"] or "",
                "namespace_id": given["namespace_uuid"],
                "api_key_auth": given["enable_api_key_auth"],
                "oauth": given["enable_oauth"],
                "query_param_auth": given["use_query_param_auth"],
            }
            if given["enable_max_rate"] and given["max_rate"] and given["max_rate_seconds"]:
                columns |= {"max_rate": given["max_rate"], "max_rate_seconds": float(given["max_rate_seconds"])}
            if given["enable_client_max_rate"] and given["client_max_rate"] and given["client_max_rate_seconds"]:
                header = (given["client_max_rate_strategy_key"] or "")[:LONGEST_HEADER]
                by_header = (given["client_max_rate_strategy"] or "").lower() == "header" and bool(header)
                columns |= {
                    "client_max_rate": given["client_max_rate"],
                    "client_max_rate_seconds": float(given["client_max_rate_seconds"]),
                    "client_max_rate_strategy": "header" if by_header else "ip",
                    "client_max_rate_header": header.lower() if by_header else None,
                }
            if not given["enable_api_key_auth"] and not given["enable_oauth"]:
                self.remark("changed", what, "needs no key, as in MetaMCP: anybody who reaches the port may use it")
            there = await self.tx.find(Endpoint, name=given["name"])
            if there is not None and there.id != given["uuid"]:
                self.remark("lost", what, "is left out: another endpoint has its name")
                continue
            if len(given["name"]) > LONGEST_NAME:
                self.remark("lost", what, f"is left out: its name is longer than {LONGEST_NAME} characters")
                continue
            await self.put(Endpoint, given["uuid"], columns)

    async def keys(self) -> None:
        for given in self.rows["api_keys"]:
            owner = self.owners.get(given["user_id"])
            digest, prefix = describe_key(given["key"])
            there = await self.tx.find(ApiKey, digest=digest)
            if there is not None and there.id != given["uuid"]:
                self.remark("lost", f"key {given['name']}", f"is left out: it is here already, as {there.name}")
                continue
            columns = {
                "owner_id": owner,
                "name": await self.free_name(ApiKey, given, owner),
                "digest": digest,
                "prefix": prefix,
                "disabled": not given["is_active"],
            }
            await self.put(ApiKey, given["uuid"], columns)

    async def clients(self) -> None:
        for given in self.rows["oauth_clients"]:
            there = await self.tx.find(OAuthClient, client_id=given["client_id"])
            secret = given["client_secret"]
            columns = {
                "client_id": given["client_id"],
                "secret_digest": digest_of(secret) if secret else None,
                "name": given["client_name"] or "",
                "redirect_uris": list(given["redirect_uris"] or ()),
                "attributes": {k: v for k, v in given.items() if k not in _CLIENT and v is not None},
            }
            if len(given["client_id"]) > _LONGEST_CLIENT:
                self.remark("lost", "oauth client", f"is left out: its id is longer than {_LONGEST_CLIENT} characters")
                continue
            await self.put(OAuthClient, there.id if there else uuid.uuid5(_USERS, given["client_id"]), columns)

    async def settings(self) -> None:
        for given in self.rows["config"]:
            name, value = given["id"], given["value"]
            what = f"setting {name}"
            if name in _SIGNUP:
                allowed = str(value).strip().lower() != "true"
                row = await self.tx.find(Setting, key=_SIGNUP[name])
                if row is None:
                    await self.tx.add(Setting(key=_SIGNUP[name], value=allowed))
                elif row.value == allowed:
                    continue
                elif self.update:
                    row.value = allowed
                else:
                    self.remark("lost", what, f"is not copied: {_SIGNUP[name]} is set here already, to something else")
                    continue
                self.remark("changed", what, f"is now {_SIGNUP[name]}: {str(allowed).lower()}")
            elif name == _TIMEOUT and self.timeout is not None:
                self.remark("changed", what, f"is now the timeout of each server: {self.timeout:g} seconds")
            elif not name.startswith(_INTERNAL):
                self.remark("lost", what, f"is not copied: {_SETTINGS.get(name, 'there is none like it here')}")
