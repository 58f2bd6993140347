"""emoe-rt beside llama.cpp on the same weights, in turn (A B A B ...): tokens a second of prompts and of generation.

    compare.py --llama BIN --gguf model-q4_0.gguf --bundle model.emoe [--runs 5] [--threads 1,2] [--prompts 128,512]

Prints the medians, the ratio of medians and the least and largest ratio of neighbouring runs, and for generation the share of
the bandwidth at which the same number of threads reads memory (emoe-rt bench --roofline, in the same run). Both take random
tokens; both are warmed up first, llama-bench by itself. --isa NAME picks our kernels (its AVX2 twin is a build of llama.cpp
with GGML_AVX512=OFF).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def output(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr[-2000:]}")
    return result.stdout


def theirs(args, threads, prompt):
    """(prompt, generation) in tokens a second."""
    rows = json.loads(output([os.path.join(args.llama, "llama-bench"), "-m", args.gguf, "-t", str(threads), "-p", str(prompt),
                              "-n", str(args.count), "-r", "1", "-o", "json", *args.llama_flags]))
    return (next(r["avg_ts"] for r in rows if r["n_prompt"] and not r["n_gen"]),
            next(r["avg_ts"] for r in rows if r["n_gen"] and not r["n_prompt"]))


def ours(args, threads, prompt):
    """The same, weights' bytes of a token, and bytes a second that threads read."""
    r = json.loads(output([args.emoe_rt, "bench", args.bundle, "--threads", str(threads), "-p", str(prompt), "-n",
                           str(args.count), "-r", "1", "--json", "--roofline", "--ctx", str(prompt + args.count),
                           *(["--isa", args.isa] if args.isa else []), *args.flags]))
    return (r["prompt_tokens_per_second"]["mean"], r["tokens_per_second"]["mean"], r["token"]["weight_bytes"],
            r["read_bytes_per_second"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llama", "gguf", "bundle"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--emoe-rt", default=os.path.join(ROOT, "build", "bin", "emoe-rt"))
    parser.add_argument("--isa")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--prompts", default="128,512")
    parser.add_argument("--flags", nargs="*", default=[], help="more for emoe-rt bench")
    parser.add_argument("--llama-flags", nargs="*", default=[], help="more for llama-bench")
    args = parser.parse_args()
    print("| threads | test | emoe tok/s | llama.cpp tok/s | ratio (least .. largest) | emoe GB/s of weights | read GB/s | % |\n"
          "|---|---|---|---|---|---|---|---|")
    for threads in map(int, args.threads.split(",")):
        generation = []
        for prompt in map(int, args.prompts.split(",")):
            pairs = [(ours(args, threads, prompt), theirs(args, threads, prompt)) for _ in range(args.runs)]
            generation += pairs
            line(threads, f"pp{prompt}", [(a[0], b[0]) for a, b in pairs])
        rates = [a[1] * a[2] / 1e9 for a, _ in generation]
        read = statistics.median(a[3] for a, _ in generation) / 1e9
        line(threads, f"tg{args.count}", [(a[1], b[1]) for a, b in generation],
             f"{statistics.median(rates):.1f} | {read:.1f} | {100 * statistics.median(rates) / read:.0f}")


def line(threads, test, pairs, more="| |"):
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratios = sorted(x / y for x, y in pairs)
    print(f"| {threads} | {test} | {a:.2f} | {b:.2f} | {a / b:.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f}) | {more} |", flush=True)


if __name__ == "__main__":
    main()
