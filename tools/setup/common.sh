# Shared by the scripts of this folder; sourced, not run.

set -euo pipefail
setup_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root_dir=$(cd -- "$setup_dir/../.." && pwd)

# Everything fetched or built from a download lives here, outside the build trees.
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}
downloads=$cache/downloads

# Debian's own Python, so that every machine behaves the same; else whatever there is.
python=/usr/bin/python3
[ -x "$python" ] || python=python3

say() { printf '%s\n' "setup: $*" >&2; }
fail() {
  printf '%s\n' "setup: error: $*" >&2
  exit 1
}

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    fail "need root for: $* (install sudo, or run \`make setup\` once as root)"
  fi
}

# One setup at a time per cache folder; the lock ends with the process.
lock_cache() {
  mkdir -p "$downloads"
  exec 9>"$cache/.lock"
  flock -w 1800 9 || fail "another setup has held $cache/.lock for 30 minutes"
  # What an interrupted setup left behind.
  rm -rf "$cache"/.new.* "$downloads"/.new.*
}

# check_sum FILE: compares FILE with the line of checksums.txt that has its name.
check_sum() {
  local name want got
  name=$(basename "$1")
  want=$(awk -v name="$name" '$2 == name { print $1 }' "$setup_dir/checksums.txt")
  [ -n "$want" ] || fail "no checksum for $name in tools/setup/checksums.txt"
  got=$(sha256sum "$1" | cut -d' ' -f1)
  [ "$got" = "$want" ] || fail "$name has SHA-256 $got, expected $want: not used"
}

# download FILE COMMAND...: runs COMMAND in an empty folder, where it must leave FILE; verifies it
# and moves it to the downloads. Does nothing when FILE is there already.
download() {
  local name=$1 dir
  shift
  if [ -e "$downloads/$name" ]; then
    check_sum "$downloads/$name"
    return
  fi
  say "downloading $name"
  dir=$(mktemp -d "$downloads/.new.XXXXXX")
  if ! (cd "$dir" && "$@") >"$dir/.log" 2>&1; then
    tail -n 20 "$dir/.log" >&2
    rm -rf "$dir"
    fail "download of $name failed (above); check the network and run \`make setup\` again"
  fi
  [ -e "$dir/$name" ] || fail "the download left no $name in $dir"
  check_sum "$dir/$name"
  mv "$dir/$name" "$downloads/$name"
  rm -rf "$dir"
}

# install_dir NAME FUNCTION: runs FUNCTION with a fresh folder that becomes $cache/NAME when it
# succeeded.
install_dir() {
  local target=$cache/$1 staging
  [ ! -e "$target/.complete" ] || return 0
  staging=$(mktemp -d "$cache/.new.XXXXXX")
  chmod 755 "$staging"
  "$2" "$staging"
  touch "$staging/.complete"
  rm -rf "$target"
  mv "$staging" "$target"
  say "ready: $target"
}

# all_ready NAME...: whether each $cache/NAME was installed to its end.
all_ready() {
  local name
  for name in "$@"; do
    [ -e "$cache/$name/.complete" ] || return 1
  done
}

# install_packages PACKAGE...: installs those Debian packages that are missing; no apt call when
# none is.
install_packages() {
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt could not install them (above; all of it: $log)"
  fi
  rm -f "$log"
}
