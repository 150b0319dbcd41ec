# What the benches on a Kafka cluster share: sourced, from the root of the tree, not run.
#   BROKERS=a:9092  a cluster that is there; without it one broker is started here and stopped again
#   KAFKA_PORT, KAFKA_HEAP, ADMIN_PORT
# Whoever sources it has set `out`, the folder of what it writes, and `default_port`, the broker's.
brokers=${BROKERS:-}
admin=127.0.0.1:${ADMIN_PORT:-9468}
repository=bench/out/models
python=$(tools/setup/venv.sh)
worker=            # Process id of the worker that runs.
worker_log=$out/serve.log
names=()           # -s topics.*=..., of the last use_topics.
load=              # Process id of a client in the background.

finish() {
  [ -z "$load" ] || kill "$load" 2>/dev/null || true
  [ -z "$worker" ] || kill "$worker" 2>/dev/null || true
  [ -n "${BROKERS:-}" ] || { tools/kafka/down && rm -rf "$KAFKA_DIR"; } >/dev/null 2>&1 || true
}

start_broker() {
  trap finish EXIT
  [ -z "$brokers" ] || return 0
  export KAFKA_DIR=$PWD/bench/out/broker KAFKA_PORT=${KAFKA_PORT:-$default_port}
  brokers=127.0.0.1:$KAFKA_PORT
  tools/kafka/up
}

# The three models of make_models.py, when they are not there yet.
bench_models() {
  [ -e "$repository/wide/1/model.onnx" ] || "$python" bench/make_models.py "$repository"
}

# use_topics PREFIX: the topics that the commands with "${names[@]}" mean
use_topics() {
  names=()
  for topic in requests results dlq events status shadow; do
    names+=(-s "topics.$topic=$1.$topic")
  done
}

# create_topics PREFIX SCALE: those topics, with SCALE times the usual partitions
create_topics() {
  use_topics "$1"
  build/millrace topics create -b "$brokers" --partitions-scale "$2" "${names[@]}" \
    >/dev/null 2>"$out/topics.log" || { cat "$out/topics.log" >&2; exit 1; }
}

delete_topics() {
  tools/kafka/cli topics --bootstrap-server "$brokers" --delete --topic "$1[.].*" || true
}

# serve GROUP MODELS [FLAG...]: starts a worker and waits until it is ready
serve() {
  build/millrace serve -b "$brokers" -g "$1" --models "$2" "${names[@]}" \
    -s "http.admin_listen=$admin" "${@:3}" 2>>"$worker_log" &
  worker=$!
  until curl -sf "http://$admin/readyz" >/dev/null; do
    kill -0 "$worker" 2>/dev/null || { cat "$worker_log" >&2; exit 1; }
    sleep 0.1
  done
}

# Stops it in an orderly way.
stop_worker() {
  local pid=$worker
  worker=
  kill "$pid"
  wait "$pid" || { cat "$worker_log" >&2; exit 1; }
}
