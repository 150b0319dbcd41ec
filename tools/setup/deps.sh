#!/usr/bin/env bash
# Puts the pinned third-party libraries that Debian 12 lacks into the cache folder: librdkafka
# (static), ONNX Runtime (shared, opened at run time) and its C headers. Each download is verified
# against checksums.txt and kept; a second call finds everything and needs no network.
#
# deps.sh address|thread: beside those, a librdkafka that this sanitizer can see into.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

source "$setup_dir/versions.env"
readonly ort_headers_suite=trixie
readonly sanitizer=${1:-}
# A change of how it is built is a change of its name: rdkafka_build.
rdkafka_dir() { printf 'librdkafka-%s-%s%s' "$rdkafka" "$rdkafka_build" "${1:+-$1}"; }

# The npm package of the JavaScript client carries librdkafka's C sources; nothing of the package is
# run.
# Optimized harder than by default: its per-record loops are a third of a worker's CPU time.
install_rdkafka() { build_rdkafka "$1" "$(rdkafka_dir)" "-O3 -fno-semantic-interposition"; }

install_rdkafka_sanitized() {
  build_rdkafka "$1" "$(rdkafka_dir "$sanitizer")" \
    "-fsanitize=$sanitizer -fno-omit-frame-pointer"
}

# build_rdkafka STAGING NAME CFLAGS; the first of CFLAGS is for the linker, too. With the locks of
# pthread and not of C11: those are one call further away, and ThreadSanitizer does not know them.
build_rdkafka() {
  local archive=confluentinc-kafka-javascript-$kafka_package.tgz work change log=$1/build.log
  local staging=$1 name=$2 flags=$3
  if [ ! -e "$downloads/$archive" ] && ! command -v npm >/dev/null; then
    install_packages npm
  fi
  download "$archive" npm pack --silent --ignore-scripts \
    "@confluentinc/kafka-javascript@$kafka_package"
  say "building librdkafka $rdkafka (about a minute)"
  work=$(mktemp -d "$cache/.new.XXXXXX")
  tar -xzf "$downloads/$archive" -C "$work" --strip-components=3 package/deps/librdkafka
  # Our own changes to it, each with its reason: librdkafka/README.md.
  for change in "$setup_dir"/librdkafka/*.patch; do
    patch -p1 --fuzz=0 --silent -d "$work" <"$change" >>"$log" ||
      fail "librdkafka $rdkafka does not take $change"
  done
  # DESTDIR keeps the final prefix in the .pc file while the files go to the staging folder.
  if ! (
    cd "$work" &&
      CFLAGS=$flags LDFLAGS=${flags%% *} ./configure \
        --prefix="$cache/$name" --enable-static --disable-gssapi --disable-c11threads &&
      make -j"$(nproc)" libs &&
      make -C src install DESTDIR="$work/out"
  ) >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    fail "the build of librdkafka failed; its log: $log"
  fi
  cp -a "$work/out$cache/$name/." "$staging/"
  { [ -e "$staging/lib/librdkafka.a" ] && [ -e "$staging/include/librdkafka/rdkafka.h" ]; } ||
    fail "librdkafka was installed without its library or header"
  rm -f "$staging"/lib/librdkafka*.so*
  rm -rf "$work"
}

install_ort() {
  local machine archive
  machine=$(uname -m)
  archive=onnxruntime-$ort-cp311-cp311-manylinux_2_27_$machine.manylinux_2_28_$machine.whl
  download "$archive" "$python" -m pip download --quiet --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 \
    --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" --dest . \
    "onnxruntime==$ort"
  "$python" - "$downloads/$archive" "$1" "$ort" <<'PYTHON'
import pathlib, sys, zipfile

wheel, target, version = sys.argv[1:]
members = {
    f"onnxruntime/capi/libonnxruntime.so.{version}": "libonnxruntime.so",
    "onnxruntime/LICENSE": "LICENSE",
    "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt",
}
with zipfile.ZipFile(wheel) as archive:
    for member, name in members.items():
        pathlib.Path(target, name).write_bytes(archive.read(member))
PYTHON
  chmod 755 "$1/libonnxruntime.so"
}

# The address of the Debian archive that this machine already uses.
debian_mirror() {
  local found
  found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CREATED_BY)' 2>/dev/null |
    awk '$3 == "Packages" && $2 !~ /security/ && $1 ~ /debian\/?$/ { print $1; exit }')
  # Before the first `apt-get update` only the source lists know.
  [ -n "$found" ] || found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -v '^ *#' | grep -oE '[a-z+]+://[^] ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
  [ -n "$found" ] || fail "no Debian archive among this machine's apt sources"
  printf '%s\n' "$found"
}

# apt-get with configuration, lists and cache of its own: the machine's stay untouched. The headers
# are the same on every architecture, so one package serves all.
fetch_ort_headers() {
  local apt=$PWD/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  [ -e "$keyring" ] || fail "no $keyring: install debian-archive-keyring"
  mirror=$(debian_mirror) || return 1
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/parts"
  printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$ort_headers_suite" \
    >"$apt/sources.list"
  {
    printf 'Dir::Etc::sourcelist "%s";\n' "$apt/sources.list"
    printf 'Dir::Etc::sourceparts "%s";\n' "$apt/parts"
    printf 'Dir::Etc::preferences "%s";\n' "$apt/preferences"
    printf 'Dir::Etc::preferencesparts "%s";\n' "$apt/parts"
    printf 'Dir::State "%s";\nDir::State::lists "%s";\n' "$apt" "$apt/lists"
    printf 'Dir::State::status "/dev/null";\nDir::Cache "%s";\n' "$apt"
    printf 'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\n'
    printf 'APT::Sandbox::User "root";\n'
    printf 'Acquire::Languages "none";\n'
    printf 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n'
  } >"$apt/apt.conf"
  APT_CONFIG=$apt/apt.conf apt-get update &&
    APT_CONFIG=$apt/apt.conf apt-get download libonnxruntime-dev
}

install_ort_headers() {
  local archive=libonnxruntime-dev_$ort_headers+dfsg-1_amd64.deb work
  download "$archive" fetch_ort_headers
  work=$(mktemp -d "$cache/.new.XXXXXX")
  dpkg-deb -x "$downloads/$archive" "$work"
  mkdir "$1/include"
  cp "$work"/usr/include/onnxruntime/onnxruntime_c_api.h \
    "$work"/usr/include/onnxruntime/onnxruntime_*_config_keys.h "$1/include/"
  cp "$work"/usr/share/doc/libonnxruntime-dev/copyright "$1/"
  rm -rf "$work"
}

case $sanitizer in '' | address | thread) ;; *) fail "deps.sh takes address or thread" ;; esac
wanted=("onnxruntime-$ort" "onnxruntime-headers-$ort_headers" "$(rdkafka_dir)")
[ -z "$sanitizer" ] || wanted+=("$(rdkafka_dir "$sanitizer")")
all_ready "${wanted[@]}" && exit 0
lock_cache
install_dir "onnxruntime-$ort" install_ort
install_dir "onnxruntime-headers-$ort_headers" install_ort_headers
install_dir "$(rdkafka_dir)" install_rdkafka
[ -z "$sanitizer" ] || install_dir "$(rdkafka_dir "$sanitizer")" install_rdkafka_sanitized
