#!/usr/bin/env python3
"""A steady load of one model, and version after version promoted while it runs.

    python swaps_load.py BROKERS --prefix P --models DIR --model m --load 0.8 --swaps 200

Finds how many requests a second the worker answers while they come faster than that, and publishes
--load of it on time (open loop): --seconds without a swap, then while versions 1 and 2 take turns -
each promotion waits until the worker has answered the one before - and --seconds without one again.
Notes when each result can be read by a read_committed consumer, holds every output against
ONNX Runtime in this process, and samples the worker's memory. Prints one JSON object.
"""

import argparse
import collections
import json
import pathlib
import random
import sys
import threading
import time
import urllib.request

import numpy as np
import onnxruntime
from confluent_kafka import Consumer, Producer, TopicPartition

LEAD = 1.0
PATIENCE = 60.0
FLOOD_SECONDS = 12
TENANTS = 40


class Follower(threading.Thread):
    """Reads a topic from its present end; `on_message` sees every record."""

    def __init__(self, brokers, topic, on_message):
        super().__init__(name=topic, daemon=True)
        self._consumer = Consumer({
            "bootstrap.servers": brokers, "group.id": f"bench-{random.random()}",
            "enable.auto.commit": False, "isolation.level": "read_committed",
            "fetch.wait.max.ms": 5})
        count = len(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        places = [TopicPartition(topic, p) for p in range(count)]
        ends = [self._consumer.get_watermark_offsets(p, timeout=10)[1] for p in places]
        self._consumer.assign([TopicPartition(topic, p.partition, end)
                               for p, end in zip(places, ends)])
        self._on_message = on_message
        self.stop = False
        self.start()

    def run(self):
        while not self.stop:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self._on_message(message)


def resident(admin):
    with urllib.request.urlopen(f"http://{admin}/metrics") as reply:
        for line in reply.read().decode().splitlines():
            if line.startswith("process_resident_memory_bytes"):
                return float(line.split()[-1])
    raise SystemExit("no process_resident_memory_bytes in the metrics")


def percentiles(waits):
    return {f"p{q}_ms": round(float(np.percentile(waits, q)) * 1000, 2) for q in (50, 95, 99)}


class Load:
    def __init__(self, args, features):
        self.args = args
        self.rng = np.random.default_rng(20261121)
        self.inputs = self.rng.random((512, features), dtype=np.float32).round(4)
        self.rate = self.capacity = 0
        self.due, self.seen, self.version, self.output = [], {}, {}, {}
        self.failures = 0
        self.doubled = 0
        self.producer = Producer({"bootstrap.servers": args.brokers, "linger.ms": 0,
                                  "acks": "all", "message.timeout.ms": 60000})
        prefix = args.prefix
        self.state = None
        self.followers = [Follower(args.brokers, f"{prefix}.results", self.on_result),
                          Follower(args.brokers, f"{prefix}.dlq", self.on_dead_letter),
                          Follower(args.brokers, f"{prefix}.status", self.on_status)]
        self.bodies = [json.dumps([float(x) for x in row]) for row in self.inputs]

    def on_result(self, message):
        now = time.monotonic()
        result = json.loads(message.value())
        number = int(result["request_id"])
        if number in self.seen:
            self.doubled += 1
        self.seen[number] = now
        self.version[number] = result["model_version"]
        self.output[number] = result["output"]

    def on_dead_letter(self, message):
        self.failures += 1

    def on_status(self, message):
        if message.value():
            self.state = json.loads(message.value())

    def promote(self, version):
        event = {"model_id": self.args.model, "version": version, "action": "promote",
                 "uri": "", "sha256": "", "issued_at": "bench"}
        self.producer.produce(f"{self.args.prefix}.events", key=self.args.model,
                              value=json.dumps(event))
        self.producer.poll(0)

    def serving(self, version):
        state = self.state
        return state and state["state"] == "serving" and state["version"] == version

    def find_rate(self):
        """Requests a second that are answered while more are there than that."""
        self.rate = self.args.flood
        marks = []

        def stop(seconds):
            if seconds > FLOOD_SECONDS / 2 and not marks:
                marks.append((time.monotonic(), len(self.seen)))
            return seconds > FLOOD_SECONDS
        _, end = self.publish(stop)
        seconds, answered = time.monotonic() - marks[0][0], len(self.seen) - marks[0][1]
        self.wait_answers(end)
        self.capacity = answered / seconds
        self.rate = self.capacity * self.args.load

    def publish(self, stop):
        """Publishes on time until stop(seconds since the start) says so; (first, end) numbers."""
        first = len(self.due)
        start = time.monotonic() + LEAD
        sent = 0
        while not stop(time.monotonic() - start):
            due = start + sent / self.rate
            wait = due - time.monotonic()
            if wait > 0:
                self.producer.poll(0)
                time.sleep(min(wait, 0.005))
                continue
            number = len(self.due)
            tenant = f"t{number % TENANTS}"
            value = (f'{{"request_id":"{number}","tenant_id":"{tenant}","model_id":'
                     f'"{self.args.model}","input":{self.bodies[number % len(self.bodies)]}}}')
            self.due.append(due)
            self.producer.produce(f"{self.args.prefix}.requests",
                                  key=f"{tenant}|{self.args.model}", value=value)
            sent += 1
        self.producer.flush(30)
        return first, len(self.due)

    def wait_answers(self, end):
        deadline = time.monotonic() + PATIENCE
        while len(self.seen) + self.failures < end and time.monotonic() < deadline:
            time.sleep(0.05)

    def waits(self, first, end):
        return [self.seen[n] - self.due[n] for n in range(first, end) if n in self.seen]


def swapper(load, done, times, memory):
    args = load.args
    for i in range(args.swaps):
        version = "2" if i % 2 == 0 else "1"
        begun = time.monotonic()
        load.promote(version)
        while not load.serving(version) and time.monotonic() - begun < PATIENCE:
            time.sleep(0.005)
        if not load.serving(version):
            raise SystemExit(f"version {version} did not come to serve: {load.state}")
        times.append(time.monotonic() - begun)
        if i % 10 == 9:
            memory.append(resident(args.admin))
        pause = args.every - (time.monotonic() - begun)
        if pause > 0:
            time.sleep(pause)
    done.set()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("brokers")
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--load", type=float, default=0.8, help="of the capacity")
    parser.add_argument("--flood", type=float, default=1500,
                        help="requests a second that are more than the worker can answer")
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--every", type=float, default=0.25, help="seconds between two promotions")
    args = parser.parse_args()

    sessions = {v: onnxruntime.InferenceSession(str(args.models / args.model / v / "model.onnx"))
                for v in ("1", "2")}
    features = sessions["1"].get_inputs()[0].shape[1]
    load = Load(args, features)
    for _ in range(2):  # The first time for connections, the first transactions, the compiler.
        load.find_rate()
    print(f"capacity {load.capacity:.0f}/s; loading with {load.rate:.0f}/s", file=sys.stderr)

    def run_steady():
        first, end = load.publish(lambda s: s > args.seconds)
        load.wait_answers(end)
        return load.waits(first, end)
    before = run_steady()

    done, times, memory = threading.Event(), [], [resident(args.admin)]
    thread = threading.Thread(target=swapper, args=(load, done, times, memory), daemon=True)
    thread.start()
    first, end = load.publish(lambda s: done.is_set() or not thread.is_alive())
    load.wait_answers(end)
    swapped = load.waits(first, end)
    after = run_steady()

    answers = {v: s.run(None, {s.get_inputs()[0].name: load.inputs})[0]
               for v, s in sessions.items()}
    expected = {n: answers[load.version[n]][n % len(load.inputs)].ravel() for n in load.seen}
    wrong = sum(not np.allclose(load.output[n], expected[n], rtol=1e-4, atol=1e-5)
                for n in load.seen)
    print(json.dumps({
        "capacity": load.capacity, "rate": load.rate,
        "requests": len(load.due), "results": len(load.seen),
        "missing": len(load.due) - len(load.seen), "doubled": load.doubled,
        "dead_letters": load.failures, "wrong": wrong, "swaps": len(times),
        "by_version": dict(collections.Counter(load.version.values())),
        "steady_before": percentiles(before), "steady_after": percentiles(after),
        "steady": percentiles(before + after), "swapping": percentiles(swapped),
        "swap_ms": percentiles(times) if times else None,
        "resident_mib": [round(b / 2**20, 1) for b in memory]}))


if __name__ == "__main__":
    main()
