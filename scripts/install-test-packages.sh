#!/bin/sh
# Installs the programs of Debian that tests and benchmarks start as private instances: nginx, wrk, PostgreSQL,
# Redis, Chromium and bubblewrap; and systemd, of which they use what checks units, and what passes sockets on.
# As root it installs what is missing; otherwise it names the command to run. Nothing is done when all are there.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v wrk >/dev/null || missing="$missing wrk"
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || missing="$missing chromium-headless-shell"
command -v bwrap >/dev/null || missing="$missing bubblewrap"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The tests need:$missing. Install with: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

# Debian starts a service as soon as it is installed; the tests want the program alone, and port 80 left as it is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
echo "Installing$missing"
apt-get update -qq
# Word splitting is wanted: one package a word.
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
