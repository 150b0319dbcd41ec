"""Answers millions of requests on a Kafka cluster with one worker and watches its memory.

usage: bench/soak.py BROKERS --models DIR [--requests 5000000]

Prints JSON: requests, seconds, and the worker's resident memory (MiB) at each tenth of the way. The
publisher stays a little ahead of the worker, so that the log is neither empty nor deep.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "build" / "millrace"
BLOCK = 50_000  # Requests that are published at once.
AHEAD = 4 * BLOCK


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def answered(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    found = re.findall(r"^millrace_records_produced_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, found)))


def write_requests(path):
    chance = random.Random(1)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(1000):
            out.write(json.dumps({"tenant_id": f"tenant-{chance.randrange(20)}", "model_id": "mlp",
                                  "input": [round(chance.uniform(-1, 1), 6) for _ in range(30)]}))
            out.write("\n")


def run(arguments, folder):
    names = f"soak-{uuid.uuid4().hex[:8]}"
    topics = [word for topic in ("requests", "results", "dlq", "events")
              for word in ("-s", f"topics.{topic}={names}.{topic}")]
    cluster = ["-b", arguments.brokers, *topics]
    requests = folder / "requests.ndjson"
    write_requests(requests)
    subprocess.run([BINARY, "topics", "create", *cluster, "--partitions-scale", "0.125"],
                   check=True, stdout=sys.stderr)
    worker = subprocess.Popen(
        [BINARY, "serve", *cluster, "-g", names, "--models", arguments.models,
         "-s", f"http.admin_listen=127.0.0.1:{arguments.port}"], stderr=open(folder / "log", "w"))
    try:
        time.sleep(3)
        return soak(arguments, cluster, requests, worker)
    finally:
        worker.terminate()
        worker.wait(60)


def soak(arguments, cluster, requests, worker):
    started = time.monotonic()
    published, done, marks = 0, 0, []
    while done < arguments.requests:
        if worker.poll() is not None:
            raise SystemExit(f"the worker ended with {worker.returncode}")
        if published < arguments.requests and published - done < AHEAD:
            subprocess.run([BINARY, "send", *cluster, str(requests), "--repeat",
                            str(BLOCK // 1000)], check=True, stdout=subprocess.DEVNULL)
            published += BLOCK
        else:
            time.sleep(0.05)
        done = answered(arguments.port)
        while done >= (len(marks) + 1) * arguments.requests / 10:
            marks.append({"requests": done, "rss_mib": round(resident_mib(worker.pid), 1)})
            print(f"{done:>10,} requests  {marks[-1]['rss_mib']:>7.1f} MiB", file=sys.stderr)
    return {"requests": done, "seconds": round(time.monotonic() - started, 1), "rss": marks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("brokers")
    parser.add_argument("--models", required=True)
    parser.add_argument("--requests", type=int, default=5_000_000)
    parser.add_argument("--port", type=int, default=9468)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(arguments, pathlib.Path(folder)), indent=2))


if __name__ == "__main__":
    main()
