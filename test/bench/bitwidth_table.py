"""What expert-wise widths cost and save on a model with texts: the tables of docs/bitwidth.md.

  bitwidth_table.py tolerances   five tolerances: mean stored bits, predicted and verified loss, loss on texts never seen
  bitwidth_table.py equal-bytes  at equal expert bytes: adapt, edgemoe, uniform (where there is one), random (5 seeds)
  bitwidth_table.py formats      one format for all experts, rounded to nearest and compensated

Reads EMOE_SHARED (models/bookmoe-28m, data/); builds into --out. Every figure comes from emoec's log or emoe-rt eval.
Losses on eval_*.txt are pooled perplexity relative to `emoec compile --lossless`.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOMAINS = ("prose", "cpp", "python")


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return result


class Bench:
    def __init__(self, args):
        shared = os.environ.get("EMOE_SHARED", os.path.join(ROOT, os.pardir, "shared"))
        self.args = args
        self.model = os.path.join(shared, "models", args.model, "hf5", "model.onnx")
        data = os.path.join(shared, "data")
        self.calibration = [f"{data}/calib_{d}.txt" for d in DOMAINS]
        self.evaluation = [f"{data}/eval_{d}.txt" for d in DOMAINS]
        os.makedirs(args.out, exist_ok=True)
        if args.eval_bytes:
            for i, path in enumerate(self.evaluation):
                self.evaluation[i] = os.path.join(args.out, f"{args.eval_bytes}_{os.path.basename(path)}")
                with open(path, "rb") as whole, open(self.evaluation[i], "wb") as part:
                    part.write(whole.read(args.eval_bytes))

    def compile(self, name, *flags, calibrated=True):
        """(bundle, log, seconds); what is there is not compiled again."""
        bundle, log = (os.path.join(self.args.out, name + ending) for ending in (".emoe", ".log"))
        if not os.path.exists(bundle) or not os.path.exists(log):
            command = [self.args.emoec, "compile", self.model, "-o", bundle, "--target", "host", *flags]
            if calibrated:
                command += ["--calibration-tokens", str(self.args.tokens), "--calibration", *self.calibration]
            start = time.time()
            text = run(command).stderr
            with open(log, "w") as file:
                file.write(f"{' '.join(command)}\nseconds {time.time() - start:.0f}\n{text}")
        with open(log) as file:
            return bundle, file.read()

    def perplexity(self, bundle):
        """Over the evaluation texts' tokens together."""
        known = f"{bundle}.eval-{self.args.eval_bytes}.json"
        if not os.path.exists(known):
            command = [self.args.emoe_rt, "eval", bundle, "--json", "--text", *self.evaluation]
            text = run(command).stdout
            with open(known, "w") as file:
                file.write(text)
        with open(known) as file:
            return json.load(file)["perplexity"]

    def reference(self):
        return self.perplexity(self.compile("lossless", "--lossless", calibrated=False)[0])

    def rise(self, bundle):
        return 100 * (self.perplexity(bundle) / self.reference() - 1)


def found(pattern, text):
    match = re.search(pattern, text)
    return match.group(1) if match else ""


def facts(log):
    return {"bits": found(r"; ([\d.]+) bits a weight", log), "predicted": found(r"predicted ([-\d.]+)", log),
            "verified": found(r"verified ([-\d.]+)", log), "divergence": found(r"divergence ([\d.]+) nats; ", log),
            "policy": found(r"widths \((\w+)\)", log), "widths": found(r"widths \(\w+\): ([^;]+);", log),
            "uniform": found(r"uniform within the tolerance: ([^,]+, [\d.]+) bits", log),
            "random": found(r"same widths at random: ([-\d.]+)", log), "seconds": found(r"seconds (\d+)", log)}


def tolerances(bench):
    print("| tolerance % | stored bits | predicted % | verified % | on eval texts % | uniform within it | same widths at "
          "random % | seconds | widths |\n|---|---|---|---|---|---|---|---|---|")
    for tolerance in bench.args.points or (0.5, 1, 2, 5, 10):
        bundle, log = bench.compile(f"tolerance-{tolerance}", "--tolerance", f"{tolerance}%", *bench.args.flags)
        f = facts(log)
        print(f"| {tolerance} | {f['bits']} | {f['predicted']} | {f['verified']} | {bench.rise(bundle):.2f} | "
              f"{f['uniform']} | {f['random']} | {f['seconds']} | {f['widths']} |", flush=True)


# The compiler's formats by the bits that a weight takes, where gate, up and down have the same size.
FORMATS = (("ternary-128", 1.75), ("ternary-128/2-128", 1.875), ("2-128", 2.125), ("2-128/3-128", 2.458), ("3-128", 3.125),
           ("3-128/4-64", 3.5), ("4-64", 4.25), ("8-32", 8.5))


def formats_for(policy, bits):
    """What the policy looks at: rounding the others would only take time. Lowest first, the best last."""
    if policy == "adapt":
        return []
    lower = max(i for i, (_, stored) in enumerate(FORMATS) if stored <= bits)
    chosen = {len(FORMATS) - 1, lower}
    if policy != "uniform":
        chosen.add(min(lower + 1, len(FORMATS) - 1))
    if policy == "edgemoe":
        chosen.add(0)  # where each expert is tried alone
    return ["--formats", ",".join(FORMATS[i][0] for i in sorted(chosen))]


def equal_bytes(bench):
    print("| bits asked | policy | stored bits | held-out % | held-out KL | on eval texts % |\n|---|---|---|---|---|---|")
    for bits in bench.args.points or (2.2, 2.6, 3.0, 3.5, 4.5):
        cases = [("adapt", 1), ("uniform", 1), ("edgemoe", 1)] + [("random", seed) for seed in range(1, 6)]
        for policy, seed in cases:
            if policy in bench.args.skip:
                continue
            bundle, log = bench.compile(f"bits-{bits}-{policy}-{seed}", "--tolerance", f"bits={bits}",
                                        "--bitwidth-policy", policy, "--width-seed", str(seed), *formats_for(policy, bits),
                                        *bench.args.flags)
            f = facts(log)
            print(f"| {bits} | {policy} {seed if policy == 'random' else ''} | {f['bits']} | {f['verified']} | "
                  f"{f['divergence']} | {bench.rise(bundle):.2f} |", flush=True)


def formats(bench):
    print("| format | rounding | stored bits | held-out % | held-out KL | on eval texts % |\n|---|---|---|---|---|---|")
    for name in ("ternary-128", "2-128", "3-128", "4-64", "8-32"):
        for rounding in ("nearest", "compensated"):
            bundle, log = bench.compile(f"format-{name}-{rounding}", "--tolerance", "bits=16", "--bitwidth-policy",
                                        "uniform", "--formats", name, "--rounding", rounding, *bench.args.flags)
            f = facts(log)
            print(f"| {name} | {rounding} | {f['bits']} | {f['verified']} | {f['divergence']} | "
                  f"{bench.rise(bundle):.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["tolerances", "equal-bytes", "formats"])
    parser.add_argument("points", nargs="*", type=float, help="tolerances or bits; default: those of docs/bitwidth.md")
    parser.add_argument("--model", default="bookmoe-28m")
    parser.add_argument("--emoec", default=os.path.join(ROOT, "build", "bin", "emoec"))
    parser.add_argument("--emoe-rt", default=os.path.join(ROOT, "build", "bin", "emoe-rt"))
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "bench", "bitwidth"))
    parser.add_argument("--tokens", type=int, default=65536, help="of calibration")
    parser.add_argument("--eval-bytes", type=int, default=0, help="of each evaluation text; 0: all")
    parser.add_argument("--skip", nargs="*", default=[], help="policies to leave out")
    parser.add_argument("--flags", nargs="*", default=[], help="more flags for emoec compile")
    args = parser.parse_args()
    {"tolerances": tolerances, "equal-bytes": equal_bytes, "formats": formats}[args.table](Bench(args))


if __name__ == "__main__":
    main()
