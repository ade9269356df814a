# Sourced by scripts/demo and scripts/test: an up-to-date virtual environment in .venv/, made when it is missing.
# Arguments: the extras of pyproject.toml to install, for example "[test]" (may be empty).
set -eu
extras="${1:-}"

fail() {
    printf '%s\n' "$1" >&2
    exit 2
}

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python="$candidate"
        break
    fi
done
[ -n "$python" ] || fail "Tenure needs Python 3.11, 3.12 or 3.13: install one (Debian: apt install python3 python3-venv) and run this again."
for tool in g++ make perl; do
    command -v "$tool" >/dev/null 2>&1 ||
        fail "Tenure needs $tool to build simulators: install it (Debian: apt install g++ make perl) and run this again."
done

# The stamp is written last, so an interrupted installation is done again.
wanted="$(cat pyproject.toml scripts/constraints.txt | cksum) $extras"
if [ "$(cat .venv/tenure-stamp 2>/dev/null || true)" != "$wanted" ]; then
    echo "Installing into .venv/ (about 1 GB of disk, 1 to 3 minutes, once) ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv ||
        fail "python3 -m venv failed: install the venv module (Debian: apt install python3-venv) and run this again."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c scripts/constraints.txt -e ".$extras" ||
        fail "pip could not install the packages of pyproject.toml: see its message above."
    printf '%s' "$wanted" >.venv/tenure-stamp
fi
