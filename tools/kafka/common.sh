# Shared by up and down; sourced, not run.
#
# A cluster is a folder of $kafka_dir named after its version and size, so that another version
# never meets its data: cluster.id, and node-N with server.properties, data, pid and the logs.
# A node's process has its folder or the path of its server.properties among its arguments.

source "$(dirname -- "${BASH_SOURCE[0]}")/../setup/common.sh"
source "$setup_dir/versions.env"
tools_dir=$root_dir/tools/kafka
kafka_dir=$(realpath -m -- "${KAFKA_DIR:-$root_dir/build/kafka}")

say() { printf '%s\n' "kafka: $*" >&2; }
fail() {
  printf '%s\n' "kafka: error: $*" >&2
  exit 1
}

# One up or down at a time in $kafka_dir; the lock ends with the process.
lock_kafka_dir() {
  mkdir -p "$kafka_dir"
  exec 8>"$kafka_dir/.lock"
  flock -w 120 8 || fail "another kafka-up or kafka-down has held $kafka_dir/.lock for 2 minutes"
}

# running_pid NODE_DIR: prints the process id of that node's broker, or nothing when it does not
# run. A recorded id that now belongs to another process does not count.
running_pid() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  [[ $pid =~ ^[0-9]+$ ]] || return 0
  if tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" |
    grep -qxF -e "$1" -e "$1/server.properties"; then
    printf '%s\n' "$pid"
  fi
}

# Prints the folder of every node that runs.
running_nodes() {
  local node
  for node in "$kafka_dir"/*/node-*; do
    [ -z "$(running_pid "$node")" ] || printf '%s\n' "$node"
  done
}

# node_address NODE_DIR: where its clients connect.
node_address() {
  sed -n 's/^advertised\.listeners=PLAINTEXT:\/\///p' "$1/server.properties"
}
