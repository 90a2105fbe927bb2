#!/bin/sh
# Prints a Python 3.11 or newer that can make virtual environments; otherwise says in one sentence what is missing.
# PYTHON=/path/to/python chooses one.
set -u

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
seen=""
for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3 python}; do
  "$name" -c "$new_enough" 2>/dev/null || continue
  if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$name"
    exit 0
  fi
  seen=$name
done

if [ -n "$seen" ]; then
  echo "$seen cannot make virtual environments: install its venv package (on Debian and Ubuntu: python3-venv)." >&2
elif [ -n "${PYTHON:-}" ]; then
  echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2
else
  echo "Forkyard needs Python 3.11 or newer and found none: install one, or name it with PYTHON=/path/to/python." >&2
fi
exit 1
