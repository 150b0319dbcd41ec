#!/usr/bin/env python3
"""What nine tenants wait while a tenth has tens of thousands of requests queued before them.

    python fairness_load.py BROKERS --requests-topic T --results-topic R --model heavy \
        --noise 50000 --seconds 30

Nine tenants send five requests a second each, on time, into the same partitions that the noise was
written to before: `--noise` requests of one tenant. With --fifo all of them are of that tenant, and
so are treated in the order in which they came. As in kafka_latency.py a request counts from when it
was due to when a read_committed consumer of this process has its result. Counting begins when the
noise is in the log; what the worker has not read by then is part of what the others wait for.
Prints one JSON object. Needs confluent-kafka (tests/requirements.txt).
"""

import argparse
import json
import random
import sys
import time

from confluent_kafka import Producer

from kafka_latency import Reader

TENANTS = 9
WARM_UP = 2.0  # Seconds of requests before the noise, which do not count.
NOISY = "noisy"


def body(tenant, request_id, model, values):
    return json.dumps({"request_id": request_id, "tenant_id": tenant, "model_id": model,
                       "input": values}, separators=(",", ":")).encode()


class Log:
    def __init__(self, args, partitions):
        self._args = args
        self._partitions = partitions
        self._count = 0
        self._random = random.Random(1)
        self._producer = Producer({"bootstrap.servers": args.brokers, "linger.ms": 0, "acks": "all",
                                   "queue.buffering.max.messages": 1_000_000})

    # Every tenant's requests go to every partition, one after the other.
    def send(self, tenant, request_id):
        values = [round(self._random.random(), 6) for _ in range(self._args.features)]
        self._producer.produce(
            self._args.requests_topic, body(tenant, request_id, self._args.model, values),
            f"{tenant}|{self._args.model}".encode(), self._count % self._partitions,
            headers={"model_id": self._args.model})
        self._count += 1
        self._producer.poll(0)

    def flush(self):
        if self._producer.flush(60):
            sys.exit("fairness_load.py: not all requests could be published")


def on_time(args, log, first, due):
    for index, when in enumerate(due, first):
        while (wait := when - time.monotonic()) > 0:
            time.sleep(wait)
        log.send(NOISY if args.fifo else f"tenant-{index % TENANTS}", f"{args.run}-{index}")


class Noise:
    """Counts what was answered of the noise, among the results that the reader passes over."""

    def __init__(self, run):
        self.prefix = f"noise-{run}-".encode()
        self.answered = 0

    def __call__(self, key):
        if key.startswith(self.prefix):
            self.answered += 1


def main():
    parser = argparse.ArgumentParser(description="What quiet tenants wait beside a noisy one.")
    parser.add_argument("brokers")
    parser.add_argument("--requests-topic", required=True)
    parser.add_argument("--results-topic", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--noise", type=int, default=0)
    parser.add_argument("--rate", type=float, default=5, help="of each quiet tenant, a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--fifo", action="store_true", help="everything is of one tenant")
    parser.add_argument("--patience", type=float, default=30, help="seconds for the last answers")
    args = parser.parse_args()
    args.run = f"fairness-{time.time_ns():x}"
    rate = args.rate * TENANTS
    before, count = int(WARM_UP * rate), int(args.seconds * rate)
    noise = Noise(args.run)
    reader = Reader(args, before + count, others=noise)
    log = Log(args, reader.partitions(args.requests_topic))
    reader.start()
    start = time.monotonic() + 0.5
    on_time(args, log, 0, [start + i / rate for i in range(before)])
    log.flush()
    began = time.monotonic()
    for i in range(args.noise):
        log.send(NOISY, f"noise-{args.run}-{i}")
    log.flush()
    start = time.monotonic()
    due = [start + i / rate for i in range(count)]
    on_time(args, log, before, due)
    log.flush()
    left = args.noise - noise.answered
    deadline = time.monotonic() + args.patience
    while reader.left and reader.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    reader.stop = True
    reader.join()
    if reader.left:
        sys.exit(f"fairness_load.py: {reader.left} of {count} requests have no result")
    waits = sorted((seen - when) * 1e3 for seen, when in zip(reader.seen[before:], due))
    at = {f"p{q}_ms": round(waits[int(q / 100 * (len(waits) - 1))], 1) for q in (50, 95, 99)}
    print(json.dumps({"requests": count, "rate": rate, **at, "max_ms": round(waits[-1], 1),
                      "noise": args.noise, "noise_published_s": round(start - began, 2),
                      "noise_left": left}))


if __name__ == "__main__":
    main()
