"""The same logits, bit for bit, whatever the budget, threads, prefill chunk and way of reading; other instruction sets
within the reference test's tolerance."""
import hashlib
import itertools
import json
import sys

from support import EMOE_RT, SHIPPED, compile_model, logits, need, plan, run

np = need("numpy")


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def main():
    model = f"{SHIPPED}/model.onnx"
    tokens = [t for case in json.load(open(f"{SHIPPED}/ref.json"))[:3] for t in case["prompt_ids"] + case["greedy_ids"]][:96]
    for flags in ((), ("--lossless",), ("--bits", "8"), ("--exact",)):
        bundle = compile_model(model, *flags)
        sizes = plan(bundle, "--ctx", "128")
        floor, recommended = sizes["floor"], sizes["recommended"]
        base = digest(logits(bundle, tokens, "--ctx", "128"))
        budgets = [floor + (recommended - floor) * i // 6 for i in range(7)]
        runs = [("--memory-budget", str(b)) for b in budgets]
        runs += [("--threads", t) for t in ("1", "2", "3", "7")]
        runs += [("--prefill-chunk", c) for c in ("1", "5", "32", "96")]
        runs += [("--io", io, "--direct", direct, "--memory-budget", str(budgets[1]))
                 for io, direct in itertools.product(("uring", "pread"), ("on", "off", "auto"))]
        runs += [("--policy", p, "--memory-budget", str(budgets[2])) for p in ("lru", "lfu")]
        runs += [("--threads", "3", "--prefill-chunk", "7", "--memory-budget", str(budgets[0]), "--io", "pread")]
        different, refused = [], []
        for extra in runs:
            flags_ = extra if "--memory-budget" in extra else extra + ("--memory-budget", "max")
            if "--prefill-chunk" in extra or "--threads" in extra:
                # Threads and chunks change the floor; what matters here is the result.
                flags_ = tuple(f for f in flags_)
            try:
                got = digest(logits(bundle, tokens, "--ctx", "128", *flags_))
            except AssertionError as error:
                # A storage mode that this machine lacks must say so (exit code 6), and nothing else may fail.
                if "exit code 6" in str(error) and ("--direct" in extra or "--io" in extra):
                    refused.append(" ".join(extra))
                    continue
                if "exit code 5" in str(error) and str(budgets[0]) in extra and "--threads" in extra:
                    refused.append(" ".join(extra))
                    continue
                raise
            if got != base:
                different.append(" ".join(extra))
        print(f"{' '.join(flags) or 'default'}: {len(runs) - len(refused)} runs, {len(different)} different; "
              f"not available here: {refused or 'none'}")
        assert not different, different
        assert len(refused) < len(runs) // 2
    below = run(EMOE_RT, "logits", bundle, "--ctx", "128", "--memory-budget", str(floor - 65536), "--tokens", "/dev/null",
                "-o", "/dev/null", check=False)
    assert below.returncode == 5, below
    assert str(floor).encode() in below.stderr.replace(b",", b"") or b"floor" in below.stderr, below.stderr
    print("below the floor:", below.stderr.decode().strip())


if __name__ == "__main__":
    sys.exit(main())
