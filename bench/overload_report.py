"""Prints what bench/overload measured as tables and curves, and keeps it with date and machine."""

import datetime
import json
import pathlib
import platform
import sys

from kafka_report import stolen
from report import cpu_model

WIDTH = 72
BARS = "▁▂▃▄▅▆▇█"
CURVES = (("rss_mib", "memory, MiB"), ("in_flight_mib", "in flight, MiB"), ("lag", "lag, records"),
          ("queue", "waiting rows"))
FIGURES = (
    ("offered", "offered, requests/s", "{:,}"),
    ("results_per_second", "answered meanwhile, requests/s", "{:,}"),
    ("of_capacity", "  of capacity", "{:.0%}"),
    ("of_capacity_after", "  right after, of capacity", "{:.0%}"),
    ("rss_calm_mib", "memory before, MiB", "{:.0f}"),
    ("rss_10s_mib", "  at 10 s", "{:.0f}"),
    ("rss_max_mib", "  most", "{:.0f}"),
    ("rss_end_mib", "  at the end", "{:.0f}"),
    ("rss_slope_mib_per_minute", "  slope after the first 20 s, MiB/min", "{:+.1f}"),
    ("lag_end", "lag at the end, records", "{:,}"),
    ("in_flight_max", "most in flight, records", "{:,}"),
    ("in_flight_max_mib", "  and MiB", "{:.0f}"),
    ("dead_letters", "expired", "{:,}"),
    ("probe_calm_p99_ms", "p99 of a probe before, ms", "{:.1f}"),
    ("probe_after_p99_ms", "  and when it was over, ms", "{:.1f}"),
    ("recovered_after_s", "probes as fast as before after, s", "{:.1f}"),
    ("lag_gone_after_s", "lag gone after, s", "{:.1f}"),
)


def curve(values):
    """The largest of each of at most WIDTH groups of values, as bars."""
    size = -(-len(values) // WIDTH)
    groups = [max(values[i:i + size]) for i in range(0, len(values), size)]
    top = max(groups) or 1
    return "".join(BARS[round(value / top * (len(BARS) - 1))] for value in groups)


def main():
    out = pathlib.Path(sys.argv[1])
    runs = {name: json.loads((out / f"{name}.json").read_text())
            for name in ("endless", "deadline")}
    timeout = runs["deadline"]["timeout_ms"]
    print(f"{runs['endless']['seconds']:.0f} s of overload, capacity "
          f"{runs['endless']['capacity']:,.0f} requests/s\n")
    print(f"{'':40}{'no deadline':>14}{f'timeout {timeout} ms':>18}")
    for key, label, text in FIGURES:
        cells = ["" if key not in run else "never" if run[key] is None else text.format(run[key])
                 for run in runs.values()]
        print(f"{label:40}{cells[0]:>14}{cells[1]:>18}")
    for name, run in runs.items():
        print(f"\n{name}: one bar is {-(-len(run['samples']) // WIDTH)} s, the highest the most")
        for key, label in CURVES:
            values = [one[key] for one in run["samples"]]
            print(f"  {label:16}{curve(values)} {max(values):,}")
    steal = stolen((out / "stat").read_text())
    print(f"\n{steal:.1%} of the processors' time was stolen by the host meanwhile")
    path = out / "summary.json"
    path.write_text(json.dumps({
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": cpu_model(), "system": platform.platform(), "stolen": round(steal, 4)},
        **runs}, indent=1) + "\n")
    print(f"all figures in {path}")


if __name__ == "__main__":
    main()
