"""The same logits, bit for bit, whatever the budget, threads, prefill chunk and way of reading; other instruction sets
within the reference test's tolerance."""
import hashlib
import itertools
import json
import os
import re
import sys
import tempfile

from support import EMOE_RT, SHIPPED, compile_model, logits, need, plan, run

np = need("numpy")


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def tokens_file(tokens):
    path = os.path.join(tempfile.gettempdir(), f"emoe-tokens-{os.getpid()}.txt")
    with open(path, "w") as file:
        file.write(" ".join(map(str, tokens)))
    return path


def main():
    model = f"{SHIPPED}/model.onnx"
    tokens = [t for case in json.load(open(f"{SHIPPED}/ref.json"))[:3] for t in case["prompt_ids"] + case["greedy_ids"]][:96]
    for flags in ((), ("--lossless",), ("--bits", "8"), ("--exact",), ("--kv-bits", "16")):
        bundle = compile_model(model, *flags)
        # The floor of this command, which wants every row's logits, is what it says when it gets too little.
        refused = run(EMOE_RT, "logits", bundle, "--ctx", "128", "--memory-budget", "65536", "--tokens",
                      tokens_file(tokens), "-o", "/dev/null", check=False)
        assert refused.returncode == 5, refused
        floor = int(re.search(rb"bytes needed: (\d+)", refused.stderr).group(1))
        recommended = floor + plan(bundle, "--ctx", "128")["recommended"] - plan(bundle, "--ctx", "128")["floor"]
        base = digest(logits(bundle, tokens, "--ctx", "128"))
        budgets = [floor + (recommended - floor) * i // 6 for i in range(7)]
        runs = [("--memory-budget", str(b)) for b in budgets]
        runs += [("--threads", t) for t in ("1", "2", "3", "7")]
        runs += [("--prefill-chunk", c) for c in ("1", "5", "32", "96")]
        runs += [("--io", io, "--direct", direct, "--memory-budget", str(budgets[1]))
                 for io, direct in itertools.product(("uring", "pread"), ("on", "off", "auto"))]
        runs += [("--policy", p, "--memory-budget", str(budgets[2])) for p in ("lru", "lfu", "edgemoe", "least-stale", "next-use")]
        runs += [("--threads", "3", "--prefill-chunk", "7", "--memory-budget", str(budgets[1]), "--io", "pread")]
        # What is read when: predictors, read-ahead, its budget, shares of the experts, at two budgets and two chunks.
        for predictor, ahead, slots in itertools.product(
                ("auto", "none", "static", "previous-token", "table", "look-ahead"),
                ((), ("--no-prefetch",), ("--prefetch-mib", "0.1")), ("12.5%", "40%")):
            runs.append(("--predictor", predictor, *ahead, "--slots", slots, "--prefill-chunk", "4"))
        runs += [("--predictor", "previous-token", "--policy", policy, "--slots", "20%", "--prefill-chunk", "1", "--io", io)
                 for policy, io in itertools.product(("lru", "lfu", "edgemoe", "least-stale", "next-use"), ("uring", "pread"))]
        different, unavailable = [], []
        for extra in runs:
            budget = () if "--memory-budget" in extra else ("--memory-budget", "max")
            try:
                got = digest(logits(bundle, tokens, "--ctx", "128", *extra, *budget))
            except AssertionError as error:
                # A way of reading that this machine lacks says so; nothing else may fail.
                if "exit code 6" in str(error) and ("--direct" in extra or "--io" in extra):
                    unavailable.append(" ".join(extra))
                    continue
                raise
            if got != base:
                different.append(" ".join(extra))
        print(f"{' '.join(flags) or 'default'}: {len(runs) - len(unavailable)} runs, {len(different)} different; "
              f"not available here: {unavailable or 'none'}")
        assert not different, different
        assert len(unavailable) < len(runs) // 2

if __name__ == "__main__":
    sys.exit(main())
