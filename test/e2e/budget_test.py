"""For every budget from the floor to "all resident", the process's anonymous memory stays inside it, sampled and as its
memory cgroup counts it; nothing of the model is mapped; and the loader's count of bytes agrees with the kernel's."""
import json
import os
import subprocess
import sys
import time

from support import EMOE_RT, SHIPPED, compile_model, plan, run

MODEL_TOKENS = 48


def status(pid):
    values = {}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            key, _, rest = line.partition(":")
            if rest.strip().endswith("kB"):
                values[key] = int(rest.split()[0]) * 1024
    return values


def io_counters(pid):
    with open(f"/proc/{pid}/io") as file:
        return {k: int(v) for k, v in (line.split(": ") for line in file)}


class Cgroup:
    """A memory cgroup below this process's own, version 1 or 2. `why` says why there is none."""

    def __init__(self):
        self.path = self.why = None
        with open("/proc/self/cgroup") as file:
            own = {controllers: path for _, controllers, path in (line.strip().split(":", 2) for line in file)}
        name = f"emoe-budget-{os.getpid()}"
        if "memory" in own:
            self.root, self.limit, self.anonymous = "/sys/fs/cgroup/memory" + own["memory"], "memory.limit_in_bytes", "rss"
        else:
            self.root, self.limit, self.anonymous = "/sys/fs/cgroup" + own.get("", ""), "memory.max", "anon"
        try:
            path = os.path.join(self.root, name)
            os.mkdir(path)
            self.path = path
            if not os.path.exists(os.path.join(path, self.limit)):
                raise OSError(f"{self.root} has no memory controller for its children")
        except OSError as error:
            self.close()
            self.why = str(error)

    def set_limit(self, size):
        with open(os.path.join(self.path, self.limit), "w") as file:
            file.write(str(size))

    def usage(self):
        """Bytes of anonymous memory, shared memory and swap."""
        with open(os.path.join(self.path, "memory.stat")) as file:
            values = {k: int(v) for k, v in (line.split() for line in file)}
        return sum(values.get(key, 0) for key in (self.anonymous, "shmem", "swap"))

    def close(self):
        if self.path:
            os.rmdir(self.path)
        self.path = None


def run_sampled(bundle, budget, *flags, cgroup=None):
    """Returns text, statistics, and peaks of anonymous and file memory and of the cgroup's use; io as it was at the end."""
    command = [EMOE_RT, "run", bundle, "--memory-budget", str(budget), "--prompt", "It was a dark", "--temp", "0",
               "--ignore-eos", "--ctx", "128", "--json", *flags]
    if cgroup:
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', os.path.join(cgroup.path, "cgroup.procs"), *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peaks = {"anonymous": 0, "file": 0, "cgroup": 0}
    # An ended process keeps its counters until it is waited for.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        try:
            if os.readlink(f"/proc/{process.pid}/exe") == os.path.realpath(EMOE_RT):
                values = status(process.pid)
                peaks["anonymous"] = max(peaks["anonymous"], values.get("RssAnon", 0) + values.get("RssShmem", 0) +
                                         values.get("VmSwap", 0))
                peaks["file"] = max(peaks["file"], values.get("RssFile", 0))
                if cgroup:
                    peaks["cgroup"] = max(peaks["cgroup"], cgroup.usage())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
        time.sleep(0.0005)
    counters = io_counters(process.pid)
    out, err = process.communicate()
    assert process.returncode == 0, (process.returncode, err.decode())
    lines = [json.loads(line) for line in out.decode().splitlines()]
    return "".join("".join(line["text"]) for line in lines[:-1]), lines[-1], peaks, counters


def check_cgroup(bundle, budgets):
    """Beside the budget, the cgroup holds page cache, which the kernel takes back, and kernel memory of the process."""
    cgroup = Cgroup()
    if cgroup.why:
        print(f"memory cgroup: not checked, none can be made here ({cgroup.why})")
        return
    try:
        for budget in budgets:
            cgroup.set_limit(budget + (2 << 20))
            _, _, peaks, _ = run_sampled(bundle, budget, "-n", str(MODEL_TOKENS), cgroup=cgroup)
            print(f"budget {budget:>10}: {peaks['cgroup']} as its cgroup counts it ({100 * peaks['cgroup'] / budget:.0f} %)")
            assert budget // 4 < peaks["cgroup"] <= budget, (peaks, budget)
    finally:
        cgroup.close()


def check_bytes_read(bundle, budget):
    """Two runs differ in what they read of the experts alone, so starting costs cancel out."""
    for io, direct, counter in (("pread", "off", "rchar"), ("pread", "on", "read_bytes"), ("uring", "on", "read_bytes")):
        runs = []
        for tokens in (8, 8, MODEL_TOKENS):  # the first brings what is read through the page cache into it
            try:
                runs.append(run_sampled(bundle, budget, "-n", str(tokens), "--io", io, "--direct", direct))
            except AssertionError as error:
                if direct == "off" or error.args[0][0] not in (4, 6):
                    raise
                print(f"{io}, direct {direct}: not checked: {error.args[0][1].strip()}")
                break
        else:
            loader = runs[2][1]["bytes_read"] - runs[1][1]["bytes_read"]
            kernel = runs[2][3][counter] - runs[1][3][counter]
            print(f"{io}, direct {direct}: {loader} bytes more by the loader's count, {kernel} by the kernel's {counter}")
            # The process reads of itself in /proc, too, numbers with more digits or fewer.
            assert loader > 1 << 20 and abs(kernel - loader) <= 64, (loader, kernel)


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
        text, _, peaks, _ = run_sampled(bundle, budget, "-n", str(MODEL_TOKENS))
        texts.add(text)
        anonymous, file_pages = peaks["anonymous"], peaks["file"]
        print(f"budget {budget:>10}: peak anonymous {anonymous:>10} ({100 * anonymous / budget:.0f} %), "
              f"file pages {file_pages}")
        assert anonymous <= budget, (anonymous, budget)
        assert file_pages <= mapped_limit, (file_pages, mapped_limit)
    assert len(texts) == 1, "every budget must give the same text"
    check_cgroup(bundle, (floor, (floor + recommended) // 2, recommended))
    check_bytes_read(bundle, floor)
    too_small = run(EMOE_RT, "run", bundle, "--memory-budget", str(floor - (64 << 10)), "--ctx", "128", "--prompt", "x",
                    check=False)
    assert too_small.returncode == 5, too_small
    print("below the floor:", too_small.stderr.decode().strip())


if __name__ == "__main__":
    sys.exit(main())
