"""A real OpenID provider, `oidc-provider` of npm, and how somebody without a browser signs in there."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from html import unescape
from urllib.parse import urljoin

import httpx2

from tests.places import NODE_MODULES, ROOT, node
from tests.processes import running

CLIENT, SECRET = "metamcp", "a secret of the client"


@contextlib.contextmanager
def provider() -> Iterator[Mapping[str, str]]:
    """Runs a provider; yields the variables with which a gateway uses it."""
    assert (NODE_MODULES / "oidc-provider").is_dir(), "oidc-provider is missing: run `make test-environment`"
    script = ROOT / "tests" / "signin" / "provider.mjs"
    with running([node(), script, NODE_MODULES, CLIENT, SECRET], r"ready at (\S+)") as (_, ready):
        yield {
            "OIDC_CLIENT_ID": CLIENT,
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_DISCOVERY_URL": f"{ready[1]}/.well-known/openid-configuration",
        }


async def signed_in_there(url: str, login: str) -> str:
    """Signs in at the provider and agrees; returns the URL with which the browser is sent back.

    Args:
        url: where the gateway sent the browser.
        login: a name, as provider.mjs reads it.
    """
    async with httpx2.AsyncClient(timeout=20) as http:
        answer = await http.get(url)
        for _ in range(10):
            if answer.is_redirect:
                following = urljoin(str(answer.url), answer.headers["location"])
                if "/oauth2/callback/" in following:
                    return following
                answer = await http.get(following)
                continue
            form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
            action = re.search(r'action="([^"]+)"', answer.text)
            assert action is not None, answer.text
            if form["prompt"] == "login":
                form |= {"login": login, "password": "anything"}
            answer = await http.post(unescape(action[1]), data=form)
    raise AssertionError("the provider did not send the browser back")
