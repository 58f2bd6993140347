"""Compiling: time, memory, reproducibility, and two exports of one model that become the same module."""
import hashlib
import os
import re
import resource
import subprocess
import sys
import tempfile
import time

from support import BUILD, EMOEC, SHIPPED, run, shared


def measured(*command):
    """(seconds, seconds of processors, peak bytes)."""
    start = time.time()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors.decode()
    return time.time() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def check_cost(folder):
    model = shared("models", "bookmoe-28m", "hf5", "model.onnx")
    seconds, processor, peak = measured(EMOEC, "compile", model, "-o", f"{folder}/28m.emoe")
    print(f"bookmoe-28m, all targets: {seconds:.1f} s ({processor:.1f} s of processors), peak {peak / 1e6:.0f} MB")
    assert peak < 600e6, peak
    # Beside other work the clock says little.
    assert min(seconds, processor) < 30, (seconds, processor)


def check_reproducible(folder):
    digests = set()
    for name in ("a.emoe", "b.emoe"):
        run(EMOEC, "compile", f"{SHIPPED}/model.onnx", "-o", f"{folder}/{name}", "--target", "x86-64-v3,aarch64")
        with open(f"{folder}/{name}", "rb") as file:
            digests.add(hashlib.sha256(file.read()).hexdigest())
    assert len(digests) == 1, "two compiles of one model differ"
    print("two compiles: the same bytes")


def canonical(model):
    """The raised module without what may differ between exports: names of files, offsets, strides, storage types."""
    text = run(EMOEC, "compile", model, "--compile-to", "raise", "-q").stdout.decode()
    text = re.sub(r'<"[^"]*", \d+, \w+, \[[^\]]*\]>', "<source>", text)
    return re.sub(r", onnx\.\w+ = [^,}]*|#loc.*| loc\(.*\)", "", text)


def check_equal_modules():
    optimum = canonical(shared("models", "bookmoe-5m", "optimum", "model.onnx"))
    hf5 = canonical(f"{SHIPPED}/model.onnx")
    weights = [sorted(line for line in text.splitlines() if "emoe.weight" in line) for text in (optimum, hf5)]
    bodies = ["\n".join(line for line in text.splitlines() if "emoe.weight" not in line) for text in (optimum, hf5)]
    assert weights[0] == weights[1], "weights differ"
    assert bodies[0] == bodies[1], "functions differ"
    print(f"two exports of bookmoe-5m: one module, {len(weights[0])} weights")


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_reproducible(folder)
        check_equal_modules()
        check_cost(folder)


if __name__ == "__main__":
    sys.exit(main())
