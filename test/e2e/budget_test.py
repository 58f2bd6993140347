"""For every budget from the floor to "all resident", the process's anonymous memory stays inside it, nothing of the
model is mapped, and the loader's count of bytes agrees with the kernel's."""
import json
import os
import subprocess
import sys
import threading
import time

from support import EMOE_RT, SHIPPED, compile_model, plan, run, skip

MODEL_TOKENS = 48


def status(pid):
    values = {}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if rest.strip().endswith("kB"):
                values[key] = int(rest.split()[0]) * 1024
    return values


def read_bytes(pid):
    with open(f"/proc/{pid}/io") as file:
        return {k: int(v) for k, v in (line.split(": ") for line in file)}


def run_sampled(bundle, budget, *flags):
    process = subprocess.Popen([EMOE_RT, "run", bundle, "--memory-budget", str(budget), "--prompt", "It was a dark",
                                "-n", str(MODEL_TOKENS), "--temp", "0", "--ignore-eos", "--ctx", "128", *flags],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak_anonymous = peak_file = rchar = 0
    while process.poll() is None:
        try:
            values = status(process.pid)
            peak_anonymous = max(peak_anonymous,
                                 values.get("RssAnon", 0) + values.get("RssShmem", 0) + values.get("VmSwap", 0))
            peak_file = max(peak_file, values.get("RssFile", 0))
            rchar = max(rchar, read_bytes(process.pid)["rchar"])
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
        time.sleep(0.0005)
    out, err = process.communicate()
    assert process.returncode == 0, err.decode()
    return out, err.decode(), peak_anonymous, peak_file


def main():
    bundle = compile_model(f"{SHIPPED}/model.onnx")
    sizes = plan(bundle, "--ctx", "128")
    floor, recommended = sizes["floor"], sizes["recommended"]
    # What may be mapped from files: the executable, libc, and a megabyte.
    libc = max((os.path.getsize(os.path.realpath(p)) for p in
                (line.split()[2] for line in run("ldd", EMOE_RT).stdout.decode().splitlines() if "=> /" in line)),
               default=0)
    mapped_limit = os.path.getsize(EMOE_RT) + libc + (1 << 20)
    texts = set()
    for i in range(6):
        budget = floor + (recommended - floor) * i // 5
        out, err, anonymous, file_pages = run_sampled(bundle, budget)
        texts.add(out)
        print(f"budget {budget:>10}: peak anonymous {anonymous:>10} ({100 * anonymous / budget:.0f} %), "
              f"file pages {file_pages}")
        assert anonymous <= budget, (anonymous, budget)
        assert file_pages <= mapped_limit, (file_pages, mapped_limit)
    assert len(texts) == 1, "every budget must give the same text"
    too_small = run(EMOE_RT, "run", bundle, "--memory-budget", str(floor - (64 << 10)), "--ctx", "128", "--prompt", "x",
                    check=False)
    assert too_small.returncode == 5, too_small
    print("below the floor:", too_small.stderr.decode().strip())


if __name__ == "__main__":
    sys.exit(main())
