#!/usr/bin/env python3
"""Writes requests as NDJSON, for `millrace send` and for trying things by hand.

    python make_requests.py requests.ndjson --model mlp --count 1000 --features 30 --tenants 20

The same arguments give the same file. `millrace bench` makes its own load and does not need it.
Standard library only.
"""

import argparse
import json
import random


def main():
    parser = argparse.ArgumentParser(description="Writes requests as NDJSON.")
    parser.add_argument("out", help="file to write")
    parser.add_argument("--model", default="mlp", help="model_id (default: %(default)s)")
    parser.add_argument("--count", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--features", type=int, default=30, help="(default: %(default)s)")
    parser.add_argument("--tenants", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()
    if args.count < 0 or args.features < 1 or args.tenants < 1:
        parser.error("--count must be at least 0, --features and --tenants at least 1")

    rng = random.Random(args.seed)
    with open(args.out, "w", encoding="utf-8") as file:
        for i in range(args.count):
            request = {
                "request_id": f"{args.model}-{args.seed}-{i:08}",
                "tenant_id": f"tenant-{i % args.tenants:02}",
                "model_id": args.model,
                "input": [round(rng.gauss(0, 1), 6) for _ in range(args.features)],
            }
            file.write(json.dumps(request, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
