#!/usr/bin/env bash
# packages.sh [LIST]...: installs the Debian 12 packages of packages-LIST.txt (default: build) that
# are missing.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[ $# -gt 0 ] || set -- build
packages=()
for list in "$@"; do
  mapfile -t -O ${#packages[@]} packages < <(grep -vE '^ *(#|$)' "$setup_dir/packages-$list.txt")
done
command -v dpkg-query >/dev/null || {
  say "not a Debian system: install the equivalents of: ${packages[*]}"
  exit 0
}
install_packages "${packages[@]}"
