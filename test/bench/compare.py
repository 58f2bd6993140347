"""emoe-rt beside llama.cpp on the same weights, in turn (A B A B ...): tokens a second of prompts and of generation.

    compare.py --llama BIN --gguf model-q4_0.gguf --bundle model.emoe [--runs 5] [--threads 1,2] [--prompts 128,512]
               [--repack 1,0] [--isa x86-64-v3 --llama-libraries BIN-AVX2]

Prints the medians, the ratio of medians and the least and largest ratio of neighbouring runs, and for generation what share of
the bandwidth at which the same number of threads reads memory (emoe-rt bench --roofline, in the same run) either engine's
weights take. Generation follows a prompt of the stated length on both sides (llama-bench -d). Both take random tokens; both
are warmed up first, llama-bench by itself. --repack: with and without llama.cpp's repacking at load, each in its turn.
test/bench/peer.py builds BIN and BIN-AVX2.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def output(command, **more):
    result = subprocess.run(command, capture_output=True, text=True, **more)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr[-2000:]}")
    return result.stdout


def token_bytes(path):
    """What a token reads of a GGUF file's weights: all but the embedding, and of experts as many as it chooses."""
    import gguf
    reader = gguf.GGUFReader(path)
    fields = {name.split(".")[-1]: field for name, field in reader.fields.items() if "expert" in name}
    share = fields["expert_used_count"].contents() / fields["expert_count"].contents()
    return sum(int(t.n_bytes) * (share if "_exps" in t.name else 1) for t in reader.tensors if t.name != "token_embd.weight")


def theirs(args, threads, prompt, repack):
    """(prompt, generation) in tokens a second."""
    environment = dict(os.environ)
    if args.llama_libraries:
        environment["LD_LIBRARY_PATH"] = args.llama_libraries
    rows = json.loads(output([os.path.join(args.llama, "llama-bench"), "-m", args.gguf, "-t", str(threads), "-p", str(prompt),
                              "-n", str(args.count), "-d", f"0,{prompt}", "-r", "1", "--repack", repack, "-o", "json",
                              *args.llama_flags], env=environment))
    return (next(r["avg_ts"] for r in rows if r["n_prompt"] and not r["n_gen"] and r["n_depth"] == 0),
            next(r["avg_ts"] for r in rows if r["n_gen"] and not r["n_prompt"] and r["n_depth"] == prompt))


def ours(args, threads, prompt):
    """The same, weights' bytes of a token, and bytes a second that threads read."""
    r = json.loads(output([args.emoe_rt, "bench", args.bundle, "--threads", str(threads), "-p", str(prompt), "-n",
                           str(args.count), "-r", "1", "--json", "--roofline", "--ctx", str(prompt + args.count),
                           *(["--isa", args.isa] if args.isa else []), *args.flags]))
    return (r["prompt_tokens_per_second"]["mean"], r["tokens_per_second"]["mean"], r["token"]["weight_bytes"],
            r["read_bytes_per_second"])


def machine():
    info = open("/proc/cpuinfo").read()
    flags = re.search(r"flags\s*:(.*)", info)
    known = [f for f in ("avx2", "avx_vnni", "avx512f", "avx512_vnni") if flags and f" {f}" in flags[1]]
    model = re.search(r"model name\s*:\s*(.*)", info)
    memory = re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors, {', '.join(known)}, "
            f"{int(memory[1]) / 1e6:.0f} GB, Linux {platform.release()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llama", "gguf", "bundle"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--emoe-rt", default=os.path.join(ROOT, "build", "bin", "emoe-rt"))
    parser.add_argument("--isa", help="kernels of ours")
    parser.add_argument("--llama-libraries", help="folder of llama.cpp's libraries, built for the same instructions")
    parser.add_argument("--repack", default="1")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--prompts", default="128,512")
    parser.add_argument("--flags", nargs="*", default=[], help="more for emoe-rt bench")
    parser.add_argument("--llama-flags", nargs="*", default=[], help="more for llama-bench")
    args = parser.parse_args()
    print(f"{machine()}\n\n| threads | test | repack | emoe tok/s (least .. largest) | llama.cpp tok/s (least .. largest) | ratio "
          "(least .. largest) | weights, GB/s: emoe, llama.cpp | read, GB/s | %: emoe, llama.cpp |\n"
          "|---|---|---|---|---|---|---|---|---|", flush=True)
    repacks = args.repack.split(",")
    peer_bytes = token_bytes(args.gguf)
    for threads in map(int, args.threads.split(",")):
        for prompt in map(int, args.prompts.split(",")):
            rounds = [[ours(args, threads, prompt)] + [theirs(args, threads, prompt, r) for r in repacks]
                      for _ in range(args.runs)]
            for i, repack in enumerate(repacks):
                pairs = [(r[0], r[1 + i]) for r in rounds]
                line(threads, f"pp{prompt}", repack, [(a[0], b[0]) for a, b in pairs])
                emoe, llama, read = (statistics.median(v) / 1e9 for v in (
                    [a[1] * a[2] for a, _ in pairs], [b[1] * peer_bytes for _, b in pairs], [a[3] for a, _ in pairs]))
                line(threads, f"tg{args.count} at {prompt}", repack, [(a[1], b[1]) for a, b in pairs],
                     f"{emoe:.1f}, {llama:.1f} | {read:.1f} | {100 * emoe / read:.0f}, {100 * llama / read:.0f}")


def line(threads, test, repack, pairs, more="| |"):
    (a, a_least, a_most), (b, b_least, b_most), (_, least, most) = (
        (statistics.median(v), min(v), max(v)) for v in ([p[0] for p in pairs], [p[1] for p in pairs], [x / y for x, y in pairs]))
    print(f"| {threads} | {test} | {repack} | {a:.2f} ({a_least:.2f} .. {a_most:.2f}) | {b:.2f} ({b_least:.2f} .. {b_most:.2f}) "
          f"| {a / b:.2f} ({least:.2f} .. {most:.2f}) | {more} |", flush=True)


if __name__ == "__main__":
    main()
