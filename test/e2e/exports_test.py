"""Exports that no tool wrote (exports.py) give ONNX Runtime's logits, or are refused by name where a case says so. Seeded:
`exports_test.py SEED` repeats one case, `--cases N` (or EMOE_CASES=N) runs so many; ctest -L measure runs 400."""
import os
import sys
import tempfile

from exports import Decoder, VOCABULARY
from support import EMOEC, logits, need, run

np = need("numpy")
TOKENS = 9


def check(seed, folder):
    ort = need("onnxruntime")
    decoder = Decoder(seed)
    path, out = decoder.save(folder), os.path.join(folder, "out.emoe")
    case = f"case {seed} ({', '.join(f'{what} {choice}' for what, choice in decoder.said.items())})"
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, TOKENS)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        expected = session.run(["logits"], decoder.feeds(tokens))[0][0]
    except Exception as error:
        return f"{case}: no oracle: " + str(error)[:300].replace("\n", " ")
    result = run(EMOEC, "compile", path, "-o", out, "--lossless", "--exact", "--target", "host", "-q", check=False)
    assert result.returncode == 0, f"{case}: {result.stderr.decode()[-600:]}"
    got = logits(out, tokens)
    worst, size = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    assert np.isfinite(worst) and worst <= 1e-3 * max(1, size), f"{case}: largest difference {worst:.3g} of {size:.3g}"
    return None


def main():
    arguments = sys.argv[1:]
    seeds = range(int(os.environ.get("EMOE_CASES", 40)))
    if arguments[:1] == ["--cases"]:
        seeds = range(int(arguments[1]))
    elif arguments:
        seeds = [int(seed) for seed in arguments]
    right, wrong, lacking = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            try:
                why = check(seed, folder)
            except AssertionError as error:
                wrong.append(str(error))
                print(error, flush=True)
                continue
            if why:
                lacking.append(why)
                print(why, flush=True)
            right += why is None
    print(f"{right} of {len(seeds)} exports right, {len(wrong)} wrong or refused, {len(lacking)} without an oracle")
    assert not wrong
    assert right >= 0.9 * len(seeds), "too few cases have an oracle"


if __name__ == "__main__":
    sys.exit(main())
