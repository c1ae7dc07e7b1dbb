"""`metamcp serve` makes what MetaMCP's ``BOOTSTRAP_*`` variables ask for, before it serves."""

import json
import re
import urllib.request
from pathlib import Path

from tests.places import BIN
from tests.processes import running

ENVIRONMENT = {
    "BOOTSTRAP_USER_EMAIL": "ada@example.com",
    "BOOTSTRAP_USER_PASSWORD": "a long enough password",
    "BOOTSTRAP_NAMESPACES": '[{"name": "tools", "is_public": true}]',
    "BOOTSTRAP_API_KEYS": '[{"name": "everybody", "is_public": true}]',
    "BOOTSTRAP_ENDPOINTS": '[{"name": "public", "namespace": "tools"}]',
}


def test_a_key_that_is_made_up_is_printed_once_and_opens_the_endpoint(tmp_path: Path) -> None:
    command = [BIN / "metamcp", "serve", "--database", f"sqlite:///{tmp_path}/metamcp.db", "--port", "0"]
    ready = r"metamcp serves .* on (http://127\.0\.0\.1:\d+)"
    with running(command, ready, env=ENVIRONMENT) as (program, origin):
        key = re.search(r"API key everybody: (\S+)", program.output())
        assert key is not None
        request = urllib.request.Request(f"{origin[1]}/metamcp/", headers={"X-API-Key": key[1]})
        with urllib.request.urlopen(request) as answer:
            assert [endpoint["name"] for endpoint in json.load(answer)["endpoints"]] == ["public"]
    with running(command, ready, env=ENVIRONMENT) as (program, _):
        assert "API key everybody" not in program.output()
