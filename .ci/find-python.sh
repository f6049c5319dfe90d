#!/bin/sh
# Print a Python >= 3.12 that really runs: from PATH, else pyenv's, else uv's. Say what to do when there is none.
works() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

for name in python3.14 python3.13 python3.12 python3 python; do
    path=$(command -v "$name" 2>/dev/null) && works "$path" && echo "$path" && exit 0
done

root=$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")
for path in $(ls -d "$root"/versions/3.*/bin/python 2>/dev/null | sort -t. -k2,2nr -k3,3nr); do
    works "$path" && echo "$path" && exit 0
done

if command -v uv >/dev/null 2>&1; then
    path=$(uv python find '>=3.12' 2>/dev/null || { uv python install 3.13 >/dev/null 2>&1 && uv python find 3.13; })
    [ -n "$path" ] && works "$path" && echo "$path" && exit 0
fi

echo "bayesmv needs Python 3.12 or newer (PyMC 6 does), and none was found on PATH, under pyenv or through uv." >&2
echo "Install one, for example with 'pyenv install 3.13' or 'uv python install 3.13', and run make again." >&2
exit 1
