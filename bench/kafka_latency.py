#!/usr/bin/env python3
"""Latency as a user of the topics sees it: publishes on time, reads committed results.

    python kafka_latency.py BROKERS --requests-topic T --results-topic R --model mlp \
        --rate 500 --seconds 20

An open loop: request i is due at start + i / rate, whatever became of those before, and a late
answer counts in full, from when its request was due to when a read_committed consumer of this
process has its result. The worker is another process and knows nothing of this one. Prints one JSON
object. With --slow, one request of that model, `input` [77, 0, 0, 0], is put before those that
count. Needs confluent-kafka (tests/requirements.txt).
"""

import argparse
import json
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

LEAD = 0.5  # Seconds between the start and the first request.
LAST_ANSWERS = 15.0  # How long the last results may take.
WARM_UP = 200  # Requests before those that count: connections, the first transaction.


def request(index, args, rng):
    tenant = f"tenant-{index % 20}"
    body = {"request_id": f"{args.run}-{index}", "tenant_id": tenant, "model_id": args.model,
            "input": [round(rng.random(), 6) for _ in range(args.features)]}
    return f"{tenant}|{args.model}".encode(), json.dumps(body, separators=(",", ":")).encode()


class Reader(threading.Thread):
    """Notes when each result can be read. Keys that are not this run's go to `others`."""

    def __init__(self, args, count, others=None):
        super().__init__(name="reader")
        self._others = others
        self.seen = [0.0] * count
        self.left = count
        self.stop = False
        self._prefix = f"{args.run}-".encode()
        self._consumer = Consumer({
            "bootstrap.servers": args.brokers, "group.id": args.run, "enable.auto.commit": False,
            "isolation.level": "read_committed", "auto.offset.reset": "error"})
        self._consumer.assign([
            TopicPartition(args.results_topic, p, self._end(args.results_topic, p))
            for p in range(self.partitions(args.results_topic))])

    def partitions(self, topic):
        return len(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)

    def _end(self, topic, partition):
        return self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]

    def run(self):
        while self.left and not self.stop:
            message = self._consumer.poll(0.1)  # consume() would wait for a batch to fill.
            now = time.monotonic()
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            key = message.key() or b""
            if key.startswith(self._prefix):
                index = int(key[len(self._prefix):])
                if not self.seen[index]:
                    self.seen[index] = now
                    self.left -= 1
            elif self._others is not None:
                self._others(key)
        self._consumer.close()


def publish(args, count):
    """Publishes `count` requests on time; returns when each was due."""
    producer = Producer({"bootstrap.servers": args.brokers, "linger.ms": 0, "acks": "all"})
    rng = random.Random(1)
    headers = {"model_id": args.model}
    start = time.monotonic() + LEAD
    due = [start + i / args.rate for i in range(count)]
    for index, when in enumerate(due):
        key, value = request(index, args, rng)
        while (wait := when - time.monotonic()) > 0:
            time.sleep(wait)
        if args.slow and index == WARM_UP:
            slow = {"request_id": f"slow-{args.run}", "tenant_id": "slow", "model_id": args.slow,
                    "input": [77, 0, 0, 0]}
            producer.produce(args.requests_topic, json.dumps(slow).encode(), b"slow|slow")
        producer.produce(args.requests_topic, value, key, headers=headers)
        producer.poll(0)
    if producer.flush(LAST_ANSWERS):
        sys.exit("kafka_latency.py: not all requests could be published")
    return due


def main():
    parser = argparse.ArgumentParser(description="Latency as a user of the topics sees it.")
    parser.add_argument("brokers")
    parser.add_argument("--requests-topic", required=True)
    parser.add_argument("--results-topic", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--slow", metavar="MODEL")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    args.run = f"latency-{time.time_ns():x}"
    count = WARM_UP + int(args.rate * args.seconds)
    reader = Reader(args, count)
    reader.start()
    due = publish(args, count)
    deadline = time.monotonic() + LAST_ANSWERS
    while reader.left and reader.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    reader.stop = True
    reader.join()
    if reader.left:
        sys.exit(f"kafka_latency.py: {reader.left} of {count} requests have no result")
    waits = sorted((seen - when) * 1e3 for seen, when in zip(reader.seen[WARM_UP:], due[WARM_UP:]))
    at = {f"p{q}_ms": round(waits[int(q / 100 * (len(waits) - 1))], 3) for q in (50, 95, 99)}
    print(json.dumps({"requests": len(waits), "rate": args.rate, **at,
                      "max_ms": round(waits[-1], 3)}))


if __name__ == "__main__":
    main()
