"""EdgeMoE's ablation by the storage model: what widths, preloading and caching each give, beside keeping everything in
memory, uniform 4 bits on demand, and reading whole layers.

    ablation.py --lossless A.emoe --uniform B.emoe --widths C.emoe --tokens ids.txt [--json]

All bundles are of one model. A.emoe is compiled with --lossless, B.emoe with --bits 4, C.emoe as the compiler chooses
(or with uniform --bits 2 or 3). Times are processor time of one thread and the modelled storage's (emoe-rt bench
--cpu-time), so a busy machine disturbs them little; each figure is the median of --runs runs, taken in turn. Storage:
50 and 500 MB/s, and speeds at which reading what C.emoe misses takes 0.3, 1 and 2 times the computing. Slots: shares of
the row's own records. Beside each time stand the bounds for that run's misses: one by one is formula (1), overlapped
formula (2), in which the last record's computing is not hidden; both with the bookkeeping of a token whose experts are
all in memory (o in the formulas).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OFF, ON = ("--no-prefetch",), ()


def bench(options, bundle, storage, flags):
    command = [options.emoe_rt, "bench", bundle, "--threads", "1", "--cpu-time", "--direct", "off", "--io", "pread",
               "--json", "-p", str(options.prompt), "-n", str(options.count), "-r", "1", "--tokens", options.tokens,
               "--storage", f"{storage:.0f}", *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=600).stdout)


def median(options, bundle, storage, flags):
    """The run whose time is the median."""
    runs = sorted((bench(options, bundle, storage, flags) for _ in range(options.runs)), key=lambda r: r["token"]["ms"])
    return runs[len(runs) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lossless", "uniform", "widths", "tokens"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--predictor", default="auto")
    parser.add_argument("--shares", default="12.5,25,50")
    parser.add_argument("--storages", default="50e6,500e6,x0.3,x1,x2", help="bytes a second, or x times the computing")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--emoe-rt", default=os.path.join(os.environ.get("EMOE_BUILD", os.path.join(SOURCE, "build")),
                                                          "bin", "emoe-rt"))
    options = parser.parse_args()
    on = ("--predictor", options.predictor)
    rows = [("IO-EXP", options.lossless, ("--mode", "on-demand", *OFF)),
            ("IO-QEXP", options.uniform, ("--mode", "on-demand", *OFF)),
            ("STI-like", options.uniform, ("--mode", "whole-layers")),
            ("+ widths", options.widths, ("--mode", "on-demand", *OFF)),
            ("+ preload", options.widths, ("--mode", "on-demand", *on)),
            ("+ cache (full)", options.widths, on),
            ("cache alone", options.widths, OFF)]
    all_resident = median(options, options.widths, 1e12, OFF)["token"]
    resident, overhead = all_resident["ms"], all_resident["other_ms"]
    results = []
    for share in options.shares.split(","):
        slots = ("--slots", f"{share}%")
        missed = bench(options, options.widths, 1e12, (*slots, *OFF))["token"]["bytes"]
        for storage in options.storages.split(","):
            speed = missed / (float(storage[1:]) * resident / 1e3) if storage[0] == "x" else float(storage)
            for name, bundle, flags in rows:
                r = median(options, bundle, speed, (*slots, *flags))
                r["token"]["one_by_one_ms"] += overhead
                r["token"]["overlapped_ms"] += overhead
                results.append({"slots_percent": float(share), "storage": storage, "bytes_per_second": speed,
                                "row": name, "resident_ms": resident, **r["token"], "prefetch": r["prefetch"]})
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(f"all in memory: {resident:.3f} ms a token, of it {overhead:.3f} bookkeeping")
    print(f"{'slots':>6} {'storage':>9} {'MB/s':>7}  {'row':<15}{'ms':>8}{'p99':>8}{'stall':>8}{'MB':>7}{'(1)':>8}{'(2)':>8}"
          f"{'(2)/ms':>8}{'x IO-EXP':>9}{'x widths':>9}")
    base = {}
    for r in results:
        base[r["row"]] = r["ms"]
        print(f"{r['slots_percent']:>5g}% {r['storage']:>9} {r['bytes_per_second'] / 1e6:>7.0f}  {r['row']:<15}{r['ms']:>8.3f}"
              f"{r['p99_ms']:>8.3f}{r['stall_ms']:>8.3f}{r['bytes'] / 1e6:>7.3f}{r['one_by_one_ms']:>8.3f}"
              f"{r['overlapped_ms']:>8.3f}{r['overlapped_ms'] / r['ms']:>8.2f}{base['IO-EXP'] / r['ms']:>9.2f}"
              f"{base['+ widths'] / r['ms'] if '+ widths' in base and r['row'] != 'IO-EXP' else 0:>9.2f}")
        if r["row"] == rows[-1][0]:
            full = next(x for x in reversed(results[:results.index(r) + 1]) if x["row"] == "+ cache (full)")
            print(f"       prefetching of the full row {full['prefetch']['state']}: {full['prefetch']['used']} used, "
                  f"{full['prefetch']['wasted']} wasted")
            base = {}


if __name__ == "__main__":
    sys.exit(main())
