#!/usr/bin/env bash
# venv.sh: makes the tests' Python environment in the cache folder, from tests/requirements.txt, and
# prints the path of its python. The folder's name carries the requirements' digest: a changed list
# makes a new one.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

requirements=$root_dir/tests/requirements.txt
digest=$(cat "$requirements" <("$python" -V) | sha256sum | cut -c1-12)
venv=$cache/venv-$digest
if [ ! -e "$venv/.complete" ]; then
  lock_cache
  if [ ! -e "$venv/.complete" ]; then
    say "making the tests' Python environment"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
      --require-hashes -r "$requirements" >&2
    touch "$venv/.complete"
  fi
fi
printf '%s\n' "$venv/bin/python"
