#!/bin/sh
# Creates a virtual environment with a pip that knows dependency groups (25.1 or later).
#   scripts/create-venv.sh DIRECTORY [PYTHON]
# PYTHON defaults to the first of python3.11 to python3.14 and python3 that is 3.11 or later. Debian keeps `venv` in a
# package of its own: as root it is installed when it is missing, else the command to run is printed.
set -eu
venv=$1
python=${2:-}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if new_enough "$candidate"; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ] || ! new_enough "$python"; then
    echo "Python 3.11 or later is needed; found ${python:-none}. Install it, or name one: make PYTHON=/path/to/python3.12" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing $package"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    else
        echo "$python has no venv module. Install it with: sudo apt-get install $package" >&2
        exit 1
    fi
fi

if [ ! -x "$venv/bin/python" ]; then
    echo "Creating $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
