#!/usr/bin/env python3
"""Ten times more requests than a worker can answer: what its memory does, and what comes after.

    python overload_load.py BROKERS --prefix T --model slow --worker PID --admin HOST:PORT \
        --capacity 2000 --factor 10 --seconds 120 [--timeout-ms 1000]

Calm, overload, calm again: a probe of PROBE_RATE requests a second goes on through all of it, and
every second the worker's resident memory, its lag, its waiting rows and what it answered are noted.
Without --timeout-ms everything is answered some day, and recovery means that the worker goes on at
full speed. With it requests that waited longer become dead letters, the backlog is gone soon after
the overload, and recovery means that a probe is answered as fast as before. Prints one JSON object.
Needs confluent-kafka (tests/requirements.txt).
"""

import argparse
import json
import pathlib
import re
import statistics
import sys
import threading
import time
import types
import urllib.request

from confluent_kafka import Producer

from kafka_latency import Reader

CALM = 8.0  # Seconds before the overload.
PROBE_RATE = 20  # A second.
SETTLED = 20  # The memory of the first seconds of the overload is not part of its slope.
METRICS = ("millrace_consumer_lag_records", "millrace_queue_rows", "millrace_in_flight_records",
           "millrace_records_produced_total")


class Worker:
    """What a worker shows of itself."""

    def __init__(self, pid, admin):
        self._status = pathlib.Path(f"/proc/{pid}/status")
        self._metrics = f"http://{admin}/metrics"

    def sample(self):
        kib = int(re.search(r"VmRSS:\s+(\d+)", self._status.read_text()).group(1))
        with urllib.request.urlopen(self._metrics, timeout=5) as reply:
            text = reply.read().decode()
        sums = dict.fromkeys(METRICS, 0.0)
        results = 0.0
        for name, labels, value in re.findall(r"^(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE):
            if name in sums:
                sums[name] += float(value)
            if name == METRICS[3] and ".results" in labels:
                results += float(value)
            if name == "millrace_memory_used_bytes" and "in_flight" in labels:
                sums["in_flight_mib"] = round(float(value) / 2**20, 1)
        return {"rss_mib": round(kib / 1024, 1), "lag": int(sums[METRICS[0]]),
                "queue": int(sums[METRICS[1]]), "in_flight": int(sums[METRICS[2]]),
                "in_flight_mib": sums.get("in_flight_mib", 0.0), "results": int(results),
                "dead_letters": int(sums[METRICS[3]] - results)}


class Load(threading.Thread):
    """Publishes `rate` requests a second, evenly, from when it is started until it is stopped."""

    def __init__(self, args, rate, name, first=0, due=None):
        super().__init__(name=name)
        self._args, self._rate, self._name = args, rate, name
        self.stop = False
        self.sent = first
        self.due = due  # When each request was to be sent, for who wants to know.
        self._producer = Producer({
            "bootstrap.servers": args.brokers, "linger.ms": 20 if rate > 1000 else 0,
            "queue.buffering.max.messages": 1_000_000})

    def run(self):
        timeout = self._args.timeout_ms if self._name == "overload" else 0
        tail = '","tenant_id":"%s","model_id":"%s","input":[1,2,3,4]%s}' % (
            self._name, self._args.model, f',"timeout_ms":{timeout}' if timeout else "")
        start, first = time.monotonic(), self.sent
        while not self.stop:
            now = time.monotonic()
            behind = int((now - start) * self._rate) - (self.sent - first)
            for _ in range(min(behind, 1000)):
                request = f"{self._args.run}-{self._name}-{self.sent}"
                # Any partition: the keys differ, so that one tenant's requests spread.
                self._producer.produce(self._args.prefix + ".requests",
                                       '{"request_id":"' + request + tail, request,
                                       headers={"model_id": self._args.model})
                if self.due is not None:
                    self.due.append(start + (self.sent - first) / self._rate)
                self.sent += 1
            self._producer.poll(0)
            time.sleep(0.005 if self._rate > 1000 else 0.002)
        self._producer.flush(30)


def slope(samples):
    """Mebibytes a minute, by least squares."""
    if len(samples) < 3:
        return 0.0
    times = [one["t"] for one in samples]
    sizes = [one["rss_mib"] for one in samples]
    middle = statistics.fmean(times)
    spread = sum((t - middle) ** 2 for t in times)
    size = statistics.fmean(sizes)
    return round(60 * sum((t - middle) * (s - size) for t, s in zip(times, sizes)) / spread, 2)


def rate_between(samples, first, last, key):
    inside = [one for one in samples if first <= one["t"] <= last]
    if len(inside) < 2 or inside[-1]["t"] == inside[0]["t"]:
        return 0.0
    return (inside[-1][key] - inside[0][key]) / (inside[-1]["t"] - inside[0]["t"])


def quantile(values, share):
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else float("nan")


def recovered(waits, end, seconds, normal):
    """How long after `end` nine of ten probes began to be answered in `normal`, for 3 s on end."""
    for half in range(int(2 * (seconds - 3))):
        since = end + half / 2
        windows = [[wait for due, wait in waits if since + i <= due < since + i + 1]
                   for i in range(3)]
        if all(window and quantile(window, 0.9) <= normal for window in windows):
            return half / 2
    return None


def run(args):
    worker = Worker(args.worker, args.admin)
    most = int((CALM + args.seconds + args.after + 60) * PROBE_RATE)
    probes = types.SimpleNamespace(brokers=args.brokers, results_topic=args.prefix + ".results",
                                   run=f"{args.run}-probe")
    reader = Reader(probes, most)
    reader.start()
    due = []
    probe, load = Load(args, PROBE_RATE, "probe", due=due), None
    probe.start()
    start = time.monotonic()
    begin, end = start + CALM, start + CALM + args.seconds
    samples = []
    while (now := time.monotonic()) < end + args.after:
        if load is None and now >= begin:
            load = Load(args, args.capacity * args.factor, "overload")
            load.start()
        if load is not None and now >= end and not load.stop:
            load.stop = True
        samples.append({"t": round(now - begin, 2), **worker.sample()})
        if args.timeout_ms == 0 and now >= end:
            probe.stop = True  # Its requests are behind a backlog that nobody will wait for.
        time.sleep(max(0.0, 1 - (time.monotonic() - now)))
    probe.stop = True
    probe.join()
    load.join()
    time.sleep(2)
    reader.stop = True
    reader.join()
    seen = reader.seen
    waits = [(d - begin, (seen[i] - d) * 1e3 if seen[i] else float("inf"))
             for i, d in enumerate(due)]
    return samples, waits, load.sent


def report(args, samples, waits, sent):
    during = [one for one in samples if 0 <= one["t"] <= args.seconds]
    settled = [one for one in during if one["t"] >= min(SETTLED, args.seconds / 3)]
    calm = [wait for d, wait in waits if -CALM + 3 <= d < 0]
    normal = max(50.0, 2 * quantile(calm, 0.99))
    ten = [one for one in during if one["t"] >= 10] or during
    answered = rate_between(during, min(5, args.seconds / 3), args.seconds, "results")
    after = rate_between(samples, args.seconds + 1, args.seconds + 1 + min(10, args.after),
                         "results")
    found = {
        "capacity": args.capacity, "offered": round(sent / args.seconds),
        "seconds": args.seconds, "timeout_ms": args.timeout_ms,
        "rss_calm_mib": [one for one in samples if one["t"] < 0][-1]["rss_mib"],
        "rss_10s_mib": ten[0]["rss_mib"], "rss_max_mib": max(one["rss_mib"] for one in samples),
        "rss_end_mib": during[-1]["rss_mib"], "rss_slope_mib_per_minute": slope(settled),
        "lag_end": during[-1]["lag"], "lag_max": max(one["lag"] for one in samples),
        "queue_max": max(one["queue"] for one in samples),
        "in_flight_max": max(one["in_flight"] for one in samples),
        "in_flight_max_mib": max(one["in_flight_mib"] for one in samples),
        "results_per_second": round(answered), "of_capacity": round(answered / args.capacity, 3),
        "probe_calm_p99_ms": round(quantile(calm, 0.99), 1)}
    if args.timeout_ms == 0:
        found["results_per_second_after"] = round(after)
        found["of_capacity_after"] = round(after / args.capacity, 3)
    else:
        late = [wait for d, wait in waits if d >= args.seconds + args.after / 2]
        found["dead_letters"] = samples[-1]["dead_letters"]
        found["recovered_after_s"] = recovered(waits, args.seconds, args.after, normal)
        found["probe_after_p99_ms"] = round(quantile(late, 0.99), 1)
        empty = [one["t"] for one in samples if one["t"] > args.seconds and one["lag"] > 100]
        found["lag_gone_after_s"] = round(max(empty) - args.seconds, 1) if empty else 0.0
    return {**found, "samples": samples}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("brokers")
    parser.add_argument("--prefix", required=True, help="of the topics")
    parser.add_argument("--model", required=True)
    parser.add_argument("--worker", type=int, required=True, metavar="PID")
    parser.add_argument("--admin", required=True, metavar="HOST:PORT")
    parser.add_argument("--capacity", type=float, required=True, help="requests a second")
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--after", type=float, default=15, help="seconds to watch afterwards")
    parser.add_argument("--timeout-ms", type=int, default=0)
    args = parser.parse_args()
    args.run = f"overload-{time.time_ns():x}"
    print(json.dumps(report(args, *run(args))))


if __name__ == "__main__":
    sys.exit(main())
