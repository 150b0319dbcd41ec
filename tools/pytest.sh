#!/usr/bin/env bash
# pytest.sh [ARGS...]: all tests in Python. With arguments one pytest gets them; without, those on
# Kafka, which mostly wait for brokers, run beside the others, and their report comes after theirs.
set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
python=$(tools/setup/venv.sh)
if [ $# -gt 0 ]; then exec "$python" -m pytest tests "$@"; fi

log=build/pytest-kafka.log
mkdir -p build
"$python" -m pytest tests/kafka >"$log" 2>&1 &
kafka=$!
trap 'kill -INT "$kafka" 2>/dev/null || true' EXIT
status=0
"$python" -m pytest tests/house tests/system || status=$?
tail --lines=+1 --follow --pid="$kafka" "$log"
wait "$kafka" || status=$?
exit "$status"
