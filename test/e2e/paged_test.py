"""An embedding that is only looked up: the same logits whether it is in memory or read panel by panel, inside the budget;
damage is found by running and by verify."""
import json
import os
import re
import shutil
import sys
import tempfile

from support import EMOE_RT, SOURCE, compile_model, logits, need, plan, run

np = need("numpy")
need("onnx")
from bundle_reader import Bundle  # noqa: E402: needs numpy


def options(bundle, tokens):
    """Ways to run from the floor up, and how much smaller than the recommended budget the floor is."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(tokens)
        file.flush()
        refused = run(EMOE_RT, "logits", bundle, "--ctx", "64", "--memory-budget", "65536", "--tokens", file.name, "-o",
                      "/dev/null", check=False)
    assert refused.returncode == 5, refused
    floor = int(re.search(rb"bytes needed: (\d+)", refused.stderr).group(1))
    numbers = plan(bundle, "--ctx", "64")
    top = floor + numbers["recommended"] - numbers["floor"]
    for budget in (floor, (floor + top) // 2, top - 4096, top):
        yield ("--memory-budget", str(budget))
    for extra in (("--threads", "1"), ("--threads", "3"), ("--prefill-chunk", "1"), ("--prefill-chunk", "5"),
                  ("--io", "pread", "--direct", "off"), ("--io", "pread"), ("--predictor", "previous-token")):
        yield ("--memory-budget", str(floor + (top - floor) // 8), *extra)


def main():
    folder = tempfile.mkdtemp()
    model = os.path.join(folder, "model.onnx")
    sys.path.append(f"{SOURCE}/test/bench")
    import generate
    shape = dict(generate.SHAPES["olmoe-1b-7b"], layers=2, hidden=256, heads=2, kv_heads=2, width=128, vocab=8192)
    generate.write_onnx(shape, generate.Weights(shape, 1, 1), folder)
    random = np.random.default_rng(5)
    for flags in (("--bits", "4", "--dense-bits", "4"), ("--lossless",)):
        bundle = compile_model(model, *flags)
        index = Bundle(bundle)
        tensors = index.index.tables(1)
        embedding = tensors[-1]
        assert embedding.scalar(6, "B") == 1 and not any(t.scalar(6, "B") for t in tensors[:-1]), "the last one is paged"
        rows, offset, size = embedding.scalar(3, "I"), embedding.scalar(1, "Q"), embedding.scalar(2, "Q")
        tokens = random.integers(0, rows, 60)
        base = logits(bundle, tokens, "--ctx", "64", "--memory-budget", "max").tobytes()
        small = plan(bundle, "--ctx", "64", "--memory-budget", str(plan(bundle, "--ctx", "64")["floor"]))
        large = plan(bundle, "--ctx", "64")
        assert small["panels"] > 0 and large["panels"] == 0
        assert large["resident"] - small["resident"] >= size - 4096, (large["resident"], small["resident"], size)
        for extra in options(bundle, " ".join(map(str, tokens))):
            assert logits(bundle, tokens, "--ctx", "64", *extra).tobytes() == base, extra
        # What was read, and that it stays inside the budget.
        ids = os.path.join(folder, "ids.txt")
        with open(ids, "w") as file:
            file.write(" ".join(map(str, tokens)))
        result = run(EMOE_RT, "bench", bundle, "--memory-budget", str(plan(bundle, "--ctx", "96")["floor"] + (1 << 20)), "--ctx",
                     "96", "--tokens", ids, "-p", "32", "-n", "16", "-r", "1", "--json", check=False)
        peaks = [int(x) for x in re.findall(rb'"peak": (\d+)', result.stdout)]
        assert result.returncode == 0 and peaks, result
        assert max(peaks) <= plan(bundle, "--ctx", "96")["floor"] + (1 << 20), peaks
        # Damage in a panel that the text needs.
        run(EMOE_RT, "verify", bundle)
        token = int(tokens[7])
        at = index.sections["resident"][0] + offset + token // 16 * (size // ((rows + 15) // 16)) + 100
        damaged = os.path.join(folder, "damaged.emoe")
        data = bytearray(index.data)
        data[at] ^= 1
        with open(damaged, "wb") as file:
            file.write(data)
        assert run(EMOE_RT, "verify", damaged, check=False).returncode == 3
        budget = next(options(damaged, " ".join(map(str, tokens))))
        refused = run(EMOE_RT, "logits", damaged, "--ctx", "64", *budget, "--tokens", ids, "-o", os.path.join(folder, "x.npy"),
                      check=False)
        assert refused.returncode in (3, 4) and b"panel" in refused.stderr, refused
        whole = run(EMOE_RT, "logits", damaged, "--ctx", "64", "--memory-budget", "max", "--tokens", ids, "-o",
                    os.path.join(folder, "x.npy"), check=False)
        assert whole.returncode in (3, 4) and b"resident section: damaged" in whole.stderr, whole
        print(f"{' '.join(flags)}: floor {large['floor']}, {size} bytes of embedding, {small['panels']} for panels; "
              f"peak {max(peaks)}; {json.dumps(small)}")
        os.remove(damaged)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
