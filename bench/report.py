"""Prints the medians of bench/out/*.json as a table, and keeps them with date and machine."""

import datetime
import json
import pathlib
import platform
import sys


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    out = pathlib.Path(sys.argv[1])
    reports = [json.loads((out / f"{name}.json").read_text()) for name in ("mlp", "gbt", "wide")]
    columns = [
        ("model", "model", "{}"),
        ("requests/s", "requests_per_second", "{:,.0f}"),
        ("CPU us/request", "cpu_us_per_request", "{:.2f}"),
        ("rows/batch", "rows_per_batch", "{:.1f}"),
        ("records/commit", "records_per_commit", "{:,.0f}"),
        ("p50 ms", "p50_ms", "{:.1f}"),
        ("p99 ms", "p99_ms", "{:.1f}"),
        ("RSS MiB", "max_rss_mib", "{:.0f}"),
        ("engine rows/s", "engine_rows_per_second", "{:,.0f}"),
        ("in engine", "executor_share_in_engine", "{:.0%}"),
    ]
    rows = [[title for title, _, _ in columns]]
    rows += [[text.format(report[key]) for _, key, text in columns] for report in reports]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    print("\nCPU of the worker's threads, us per request")
    for report in reports:
        parts = report["thread_cpu_us_per_request"]
        print(f"  {report['model']:>5}  " +
              "  ".join(f"{name} {us:.2f}" for name, us in sorted(parts.items())))
    print("wall time by stage, us per request")
    for report in reports:
        parts = report["stage_us_per_request"]
        print(f"  {report['model']:>5}  " +
              "  ".join(f"{name} {us:.2f}" for name, us in sorted(parts.items())))
    summary = {
        "date": datetime.date.today().isoformat(),
        "revision": reports[0]["revision"],
        "machine": {"cpu": cpu_model(), "system": platform.platform()},
        "reports": reports,
    }
    path = out / "summary.json"
    path.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"\nmedians of {len(reports[0]['runs'])} runs; all figures in {path}")


if __name__ == "__main__":
    main()
