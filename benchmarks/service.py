"""The service from end to end: `huddle serve` in its own process, asked over loopback, beside what it has to reach.

Options: --nodes, --count, --only, --quick. Parts: state (snapshots and changes), plans, remote (questions of a
controller), fair (small plans beside hostile callers), ghz, processes.
"""

import argparse
from collections.abc import Sequence

from benchmarks import service_fair, service_plans, service_remote, service_state
from benchmarks.output import percentile, print_table, say, time_text

#: The size that has targets.
TARGET_NODES = 10_000
PARTS = ("state", "plans", "remote", "fair", "ghz", "processes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen parts, and print the targets they have."""
    parser = argparse.ArgumentParser(description="Measure the service over loopback.")
    parser.add_argument("--nodes", type=int, default=TARGET_NODES)
    parser.add_argument("--count", type=int, default=100, help="plans of each case")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--quick", action="store_true", help="a tiny cluster, a few calls: does it still run")
    chosen = parser.parse_args(arguments)
    nodes, count = (64, 2) if chosen.quick else (chosen.nodes, chosen.count)
    calls, rounds = (16, 1) if chosen.quick else (service_plans.CALLS, service_plans.ROUNDS)
    found: list[tuple[str, float, float]] = []
    if "state" in chosen.only:
        rows = service_state.main(["--quick"] if chosen.quick else ["--sizes", "1000", "10000", "100000"])
        for row in rows:
            if row["nodes"] == nodes:
                whole_ms = row["encode_ms"] + row["put_ms"]
                found += [("snapshot, encoded and held, p50", whole_ms, 500), ("delta, p50", row["delta_p50_ms"], 2)]
    if "plans" in chosen.only:
        rows = service_plans.warm(nodes, count)
        small = [row["without_certificate_ms"] for row in rows if row["case"] == "4p8d"]
        found.append(("warm Plan of 4P+8D and a router without its certificate, p50", percentile(small, 50), 10))
    if "remote" in chosen.only:
        service_remote.main(nodes, count)
    if "fair" in chosen.only:
        times = service_fair.main(nodes, 10 * count)
        say(f"p99 beside hostile callers: {times:.2f} times the quiet one, {service_fair.WANTED:g} are wanted at most")
    if "ghz" in chosen.only:
        service_plans.by_ghz(nodes, calls)
    if "processes" in chosen.only:
        service_plans.processes(nodes, calls, rounds)
    if nodes == TARGET_NODES and found:
        lines = [(name, time_text(ms), time_text(most), "met" if ms <= most else "MISSED") for name, ms, most in found]
        print_table(f"service: targets at {nodes:,} nodes", ("target", "measured", "wanted", "verdict"), lines)


if __name__ == "__main__":
    main()
