"""A private nginx that serves one of the sites of `deploy/nginx`, as it is but for addresses and certificate."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

from tests.places import ROOT
from tests.processes import free_port, running

SITES = ROOT / "deploy" / "nginx"
HOST = "mcp.example.com"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Site:
    """A site that is served.

    Args:
        port: Where it speaks TLS.
        plain: Where it sends everybody to TLS.
        certificates: A file with the certificate of its authority.
    """

    def __init__(self, port: int, plain: int, certificates: Path) -> None:
        self.port = port
        self.plain = plain
        self.certificates = certificates
        self.origin = f"https://{HOST}:{port}"


def program() -> str | None:
    """Returns where nginx is, if it is installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@contextlib.contextmanager
def site(name: str, nodes: Mapping[str, int], folder: Path) -> Iterator[Site]:
    """Serves a site for the length of a `with` block.

    Args:
        name: Its file in `deploy/nginx`.
        nodes: The port of this machine for each node's address in the file.
        folder: Where its files are written.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    port, plain = free_port(), free_port()
    text = (SITES / name).read_text(encoding="utf-8")
    for address, node in nodes.items():
        assert f"server {address}" in text
        text = text.replace(f"server {address}", f"server 127.0.0.1:{node}")
    text = re.sub(r"(?m)^ *listen \[::\].*\n", "", text)
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain};").replace("listen 443 ", f"listen 127.0.0.1:{port} ")
    text = text.replace("/etc/ssl/mcp.example.com", str(folder / "x")).replace(f"{folder}/x.pem", f"{folder}/cert.pem")
    text = text.replace(f"{folder}/x.key", f"{folder}/key.pem")
    shutil.copy(SITES / "proxy.conf", folder / "metamcp-proxy.conf")
    (folder / "metamcp.conf").write_text(text)
    places = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in _TEMPORARY)
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not write in our folder
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/nginx.pid; error_log stderr notice; worker_processes 1;\n"
        f"events {{ worker_connections 256; }}\n"
        # The tests ask which node has answered.
        f"http {{ access_log off; {places}\nadd_header X-Node $upstream_addr always;\ninclude metamcp.conf; }}\n"
    )
    nginx = program()
    assert nginx is not None, "nginx is missing: run `make test-environment`"
    command: list[str | Path] = [nginx, "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]
    with running(command, "start worker process "):
        yield Site(port, plain, folder / "ca.pem")
