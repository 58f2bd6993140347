"""emoe-rt beside llama.cpp where the model does not fit: both in a memory cgroup of the same limit, the storage unthrottled or
throttled, generating with an empty page cache behind them. Needs root, cgroups of version 1 or 2 with memory and block I/O,
and a file system on a real block device.

    streaming.py --llama BIN --gguf model-q4_0.gguf --bundle model.emoe [--shares 50,30,15] [--storage 0,500,100] [--count 64]

llama.cpp maps the file without repacking, which would need memory of the model's size; emoe-rt has a budget of the limit less
--spare MiB for page tables and the program itself. A limit is a share of the GGUF's bytes. Each runs twice over as many
tokens in one process, and the second pass counts: the first one still reads what the start left out. read_ahead_kb is set to
128, the distributions' default, and put back. "MB a token" is what the block device read for the cgroup in both passes and at
the start, over all tokens; a throttle of the kernel banks idle time, so overlap of reading and computing shows less than on a
slow device (emoe-rt bench --storage models one). Both are fed the same tokens, those that llama-bench draws: which experts
stay decides the speed, and texts differ in them. --routing FILE: what emoe-rt does with that routing, beside its own.
"""
import argparse
import contextlib
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile

from compare import ROOT, machine

V1 = "/sys/fs/cgroup/memory"


def write(path, text):
    with open(path, "w") as file:
        file.write(str(text))


def read(path):
    with open(path) as file:
        return file.read()


def device_of(path):
    """(major:minor, queue folder) of the disk that holds the file."""
    number = os.stat(path).st_dev
    at = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    disk = at if os.path.exists(os.path.join(at, "queue")) else os.path.dirname(at)
    return read(os.path.join(disk, "dev")).strip(), os.path.join(disk, "queue")


class Cgroup:
    """A group of processes with a limit of memory, page cache included, and of reading."""

    def __init__(self, memory, device, megabytes_per_second):
        self.device, name = device, f"emoe-bench-{os.getpid()}"
        if os.path.exists(V1):
            self.folders = [os.path.join(V1, name), os.path.join("/sys/fs/cgroup/blkio", name)]
            limits = [(self.folders[0], "memory.limit_in_bytes", memory)]
            # Bytes are counted where there is a rule.
            limits.append((self.folders[1], "blkio.throttle.read_bps_device",
                           f"{device} {(megabytes_per_second or 1000000) * 1000000}"))
        else:
            write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +io")
            self.folders = [os.path.join("/sys/fs/cgroup", name)]
            limits = [(self.folders[0], "memory.max", memory)]
            if megabytes_per_second:
                limits.append((self.folders[0], "io.max", f"{device} rbps={megabytes_per_second * 1000000}"))
        for folder in self.folders:
            os.mkdir(folder)
        for folder, file, value in limits:
            write(os.path.join(folder, file), value)

    def enter(self):
        for folder in self.folders:
            write(os.path.join(folder, "cgroup.procs"), os.getpid())

    def bytes_read(self):
        if len(self.folders) == 2:
            lines = read(os.path.join(self.folders[1], "blkio.throttle.io_service_bytes")).splitlines()
            return sum(int(l.split()[2]) for l in lines if l.startswith(f"{self.device} Read"))
        lines = read(os.path.join(self.folders[0], "io.stat")).splitlines()
        return sum(int(f[7:]) for l in lines if l.startswith(self.device) for f in l.split() if f.startswith("rbytes="))

    def close(self):
        for folder in self.folders:
            os.rmdir(folder)


@contextlib.contextmanager
def read_ahead(queue, kilobytes):
    path = os.path.join(queue, "read_ahead_kb")
    before = read(path).strip()
    write(path, kilobytes)
    try:
        yield
    finally:
        write(path, before)


def drawn(count, vocabulary):
    """llama-bench's tokens: it takes C's rand() without a seed, one for its warm-up, then `count` and one more a pass."""
    libc = ctypes.CDLL(None)
    libc.srand(1)
    return [libc.rand() % vocabulary for _ in range(2 * (count + 1) + 1)][1:]


def measure(command, limit, device, speed, tokens):
    """What the command printed, and megabytes that it read for each of the tokens."""
    os.sync()
    write("/proc/sys/vm/drop_caches", 3)
    group = Cgroup(limit, device, speed)
    try:
        result = subprocess.run(command, capture_output=True, text=True, preexec_fn=group.enter)
        return (result.stdout if result.returncode == 0 else None), group.bytes_read() / tokens / 1e6, result.stderr[-300:]
    finally:
        group.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llama", "gguf", "bundle"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--emoe-rt", default=os.path.join(ROOT, "build", "bin", "emoe-rt"))
    parser.add_argument("--shares", default="50,30,15", help="percent of the GGUF's bytes")
    parser.add_argument("--storage", default="0,500,100", help="MB/s; 0: as fast as it is")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--spare", type=int, default=32, help="MiB")
    parser.add_argument("--routing")
    parser.add_argument("--flags", nargs="*", default=[], help="more for emoe-rt bench")
    args = parser.parse_args()
    size = os.path.getsize(args.gguf)
    device, queue = device_of(args.gguf)
    facts = subprocess.run([args.emoe_rt, "inspect", args.bundle, "--json"], capture_output=True, text=True, check=True)
    tokens = tempfile.NamedTemporaryFile("w", suffix=".txt")
    print(*drawn(args.count, json.loads(facts.stdout)["vocab"]), file=tokens, flush=True)
    print(f"{machine()}; GGUF {size / 1e6:.0f} MB, bundle {os.path.getsize(args.bundle) / 1e6:.0f} MB\n\n"
          f"| limit | storage, MB/s | emoe tok/s | MB a token | llama.cpp tok/s | MB a token | ratio |{' replayed tok/s |' * bool(args.routing)}"
          f"\n|---|---|---|---|---|---|---|{'---|' * bool(args.routing)}", flush=True)
    with read_ahead(queue, 128):
        for share in map(float, args.shares.split(",")):
            limit = int(size * share / 100) // 4096 * 4096
            budget = limit - args.spare * 1048576
            ours = [args.emoe_rt, "bench", args.bundle, "--threads", args.threads, "--memory-budget", str(budget), "-p", "1", "-n",
                    str(args.count), "-r", "1", "--ctx", "512", "--tokens", tokens.name, "--json", *args.flags]
            theirs = [os.path.join(args.llama, "llama-bench"), "-m", args.gguf, "-t", args.threads, "-p", "0", "-n", str(args.count),
                      "-r", "2", "--repack", "0", "-lm", "mmap", "-o", "json"]
            for speed in map(int, args.storage.split(",")):
                rates, bytes_read, replayed, why = ([], []), ([], []), [], ""
                for _ in range(args.runs):
                    out, megabytes, why = measure(ours, limit, device, speed, 2 * args.count)
                    if out is None:
                        sys.exit(f"{' '.join(ours)}: {why}")
                    rates[0].append(json.loads(out)["tokens_per_second"]["mean"])
                    bytes_read[0].append(megabytes)
                    out, megabytes, why = measure(theirs, limit, device, speed, 2 * args.count)
                    if out is None:
                        sys.exit(f"{' '.join(theirs)}: {why}")
                    rates[1].append(json.loads(out)[0]["samples_ts"][1])
                    bytes_read[1].append(megabytes)
                    if args.routing:
                        out, _, why = measure(ours + ["--routing", args.routing], limit, device, speed, 2 * args.count)
                        replayed.append(json.loads(out)["tokens_per_second"]["mean"])
                a, b, x, y = map(statistics.median, (*rates, *bytes_read))
                print(f"| {share:g} %, {limit / 1e6:.0f} MB | {speed or 'unthrottled'} | {a:.2f} | {x:.1f} | {b:.2f} | {y:.1f} | {a / b:.2f} |"
                      + (f" {statistics.median(replayed):.2f} |" if replayed else ""), flush=True)


if __name__ == "__main__":
    main()
