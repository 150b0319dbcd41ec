"""Prints the medians of bench/out/kafka/*.json as tables, and keeps them with date and machine."""

import datetime
import json
import pathlib
import platform
import statistics
import sys

from report import cpu_model

MODES = ("exactly-once", "at-least-once")


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def load(out, pattern):
    return [json.loads(path.read_text()) for path in sorted(out.glob(pattern))]


def middle(reports, key):
    return statistics.median(report[key] for report in reports)


def of_mode(out, model, mode, copies):
    """The medians of one model in one mode, and how far they are from the copy of the same runs."""
    reports = load(out, f"{model}-{mode}-*.json")
    keys = ("requests_per_second", "cpu_us_per_request", "rows_per_batch", "records_per_commit",
            "commits", "max_rss_mib", "engine_rows_per_second")
    found = {key: middle(reports, key) for key in keys}
    found["runs"] = len(reports)
    found["share_of_copy"] = statistics.median(
        report["requests_per_second"] / copy["requests_per_second"]
        for report, copy in zip(reports, copies))
    found["cpu_above_copy_us"] = statistics.median(
        report["cpu_us_per_request"] - copy["cpu_us_per_request"]
        for report, copy in zip(reports, copies))
    kinds = sorted({kind for report in reports for kind in report["thread_cpu_us_per_request"]})
    found["thread_cpu_us_per_request"] = {
        kind: statistics.median(report["thread_cpu_us_per_request"].get(kind, 0)
                                for report in reports) for kind in kinds}
    found["revision"] = reports[0]["revision"]
    return found


def print_models(models):
    rows = [["model", "mode", "requests/s", "CPU us/request", "rows/batch", "records/commit",
             "RSS MiB", "of the copy's rate", "CPU above the copy's"]]
    for model, found in models.items():
        for mode in MODES:
            of = found[mode]
            rows.append([model, mode, f"{of['requests_per_second']:,.0f}",
                         f"{of['cpu_us_per_request']:.2f}", f"{of['rows_per_batch']:.1f}",
                         f"{of['records_per_commit']:,.0f}", f"{of['max_rss_mib']:.0f}",
                         f"{of['share_of_copy']:.0%}", f"{of['cpu_above_copy_us']:+.2f}"])
        copy = found["copy"]
        rows.append([model, "bare copy", f"{copy['requests_per_second']:,.0f}",
                     f"{copy['cpu_us_per_request']:.2f}", "", f"{copy['records_per_commit']:,.0f}",
                     "", "", ""])
    print_table(rows)
    print("\nCPU of the worker's threads, us per request")
    for model, found in models.items():
        for mode in MODES:
            parts = found[mode]["thread_cpu_us_per_request"].items()
            print(f"  {model:>5} {mode:>13}  " +
                  "  ".join(f"{name} {us:.2f}" for name, us in parts))


def stolen(before):
    """Share of the processors' time that the host gave to others since `before`, of /proc/stat."""
    then, now = (list(map(int, line.split()[1:9]))
                 for line in (before, pathlib.Path("/proc/stat").read_text().splitlines()[0]))
    return (now[7] - then[7]) / max(1, sum(now) - sum(then))


def main():
    out = pathlib.Path(sys.argv[1])
    models = {}
    for model in sys.argv[2:]:
        copies = load(out, f"{model}-copy-*.json")
        models[model] = {mode: of_mode(out, model, mode, copies) for mode in MODES}
        models[model]["copy"] = {key: middle(copies, key)
                                 for key in ("requests_per_second", "cpu_us_per_request")}
        models[model]["copy"]["records_per_commit"] = statistics.median(
            copy["requests"] / copy["commits"] for copy in copies)
    latency = {mode: json.loads((out / f"latency-{mode}.json").read_text()) for mode in MODES}
    print_models(models)
    rate = latency[MODES[0]]["rate"]
    print(f"\nlatency at {rate:.0f} requests/s, due to visible, by a consumer of its own (ms)")
    print_table([["mode", "p50", "p95", "p99", "max"]] + [
        [mode] + [f"{latency[mode][key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
        for mode in MODES])
    first = next(iter(models.values()))[MODES[0]]
    steal = stolen((out / "stat").read_text())
    print(f"\n{steal:.1%} of the processors' time was stolen by the host meanwhile")
    path = out / "summary.json"
    path.write_text(json.dumps({
        "date": datetime.date.today().isoformat(), "revision": first["revision"],
        "machine": {"cpu": cpu_model(), "system": platform.platform(),
                    "stolen": round(steal, 4)},
        "models": models, "latency": latency}, indent=1) + "\n")
    print(f"\nmedians of {first['runs']} runs; all figures in {path}")


if __name__ == "__main__":
    main()
