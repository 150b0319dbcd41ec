#!/usr/bin/env bash
# fuzz.sh BUILD_DIR SECONDS: runs each libFuzzer target of BUILD_DIR over its corpus for SECONDS.
# New inputs go to BUILD_DIR/corpus; an input that crashes is left in BUILD_DIR and named at the
# end.
set -euo pipefail
build=$1 seconds=$2
ran=0
for target in "$build"/millrace_*_fuzz; do
  [ -x "$target" ] || continue
  stem=$(basename "$target")
  stem=${stem#millrace_}
  mkdir -p "$build/corpus/$stem"
  echo "== $stem: $seconds s"
  "$target" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$build/$stem-" "$build/corpus/$stem" "fuzz/corpus/$stem"
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || {
  echo "no fuzz targets in $build" >&2
  exit 1
}
echo "$ran fuzz targets, no crash"
