"""Damage and failing storage: detected, named, and never computed with."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from bundle_reader import Bundle
from support import EMOEC, EMOE_RT, SHIPPED, compile_model, plan, run

ARGUMENTS = ("--prompt", "The old man", "-n", "24", "--temp", "0", "--ignore-eos", "--ctx", "128")


def generate(bundle, *flags, wrapper=()):
    return subprocess.run([*wrapper, EMOE_RT, "run", bundle, *ARGUMENTS, *flags], capture_output=True, timeout=120)


def check_damaged_records(bundle, good, floor, folder):
    offset, length, _ = Bundle(bundle).sections["experts"]
    copy = os.path.join(folder, "damaged.emoe")
    rng = random.Random(7)
    wrong = detected = 0
    for _ in range(12):
        shutil.copyfile(bundle, copy)
        with open(copy, "r+b") as file:
            # One bit in each tenth of the experts: some record that the run reads is hit.
            for part in range(400):
                at = offset + length * part // 400 + rng.randrange(length // 400)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ (1 << rng.randrange(8))]))
        result = generate(copy, "--memory-budget", str(floor))
        assert result.returncode in (0, 3), result
        if result.returncode == 3:
            detected += 1
            assert b"layer" in result.stderr and b"expert" in result.stderr, result.stderr
            assert good.startswith(result.stdout.rstrip(b"\n")), "text before the error must be right"
        else:
            wrong += result.stdout != good
        assert run(EMOE_RT, "verify", copy, check=False).returncode == 3
    print(f"damaged records: {detected} of 12 runs refused, {wrong} wrong texts")
    assert detected == 12 and wrong == 0
    print("  says:", result.stderr.decode().strip().splitlines()[-1])


def check_damaged_while_running(bundle, folder):
    """Every record is overwritten after the bundle was opened; the next miss must see it."""
    copy = os.path.join(folder, "live.emoe")
    shutil.copyfile(bundle, copy)
    offset, length, _ = Bundle(bundle).sections["experts"]
    floor = plan(bundle, "--ctx", "1024")["floor"]
    process = subprocess.Popen([EMOE_RT, "run", copy, "--memory-budget", str(floor), "--prompt", "It was", "-n", "1000",
                                "--ctx", "1024", "--temp", "0", "--ignore-eos"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.read(16)
    with open(copy, "r+b") as file:
        file.seek(offset)
        file.write(os.urandom(length))
        file.flush()
        os.fsync(file.fileno())
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, (process.returncode, err)
    print("damaged while running:", err.decode().strip().splitlines()[-1])


def check_read_errors(bundle, good, floor):
    if not shutil.which("strace"):
        print("read errors: not tried, strace is not installed")
        return
    base = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64"]
    flags = ("--io", "pread", "--memory-budget", str(floor))
    if generate(bundle, *flags, wrapper=base).returncode != 0:
        print("read errors: not tried, strace does not work here")
        return
    once = generate(bundle, *flags, wrapper=[*base, "-e", "inject=pread64:error=EIO:when=60"])
    assert once.returncode == 0 and once.stdout == good, (once.returncode, once.stderr)
    short = generate(bundle, *flags, wrapper=[*base, "-e", "inject=pread64:error=EINTR:when=40+7"])
    assert short.returncode == 0 and short.stdout == good, (short.returncode, short.stderr)
    always = generate(bundle, *flags, wrapper=[*base, "-e", "inject=pread64:error=EIO:when=60+"])
    assert always.returncode == 4, (always.returncode, always.stderr)
    lying = generate(bundle, *flags, wrapper=[*base, "-e", "inject=pread64:retval=4096:when=60+"])
    assert lying.returncode in (3, 4), (lying.returncode, lying.stderr)
    print("read errors: one is retried, lasting ones:", always.stderr.decode().strip().splitlines()[-1])


def check_headers(bundle, folder):
    """Each field of the header and the section table set to 0, its maximum, and one less."""
    with open(bundle, "rb") as file:
        data = file.read()
    count = struct.unpack_from("<I", data, 12)[0]
    fields = [(8, 2), (10, 2), (12, 4), (16, 8), (24, 8), (32, 8), (60, 4)]
    for i in range(count):
        fields += [(64 + 32 * i + at, size) for at, size in ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8))]
    copy, tried = os.path.join(folder, "header.emoe"), 0
    shutil.copyfile(bundle, copy)
    for at, size in fields:
        for value in (0, 2 ** (8 * size) - 1, 2 ** (8 * size) - 2):
            field = value.to_bytes(size, "little")
            if data[at:at + size] == field:
                continue
            with open(copy, "r+b") as file:
                file.seek(at)
                file.write(field)
            result = run(EMOE_RT, "verify", copy, check=False)
            assert result.returncode in (3, 6), (at, size, value, result)
            tried += 1
            with open(copy, "r+b") as file:
                file.seek(at)
                file.write(data[at:at + size])
    assert run(EMOE_RT, "verify", copy).returncode == 0
    print(f"header fields: {tried} changes, all refused")


def check_truncated(bundle, folder):
    size = os.path.getsize(bundle)
    rng = random.Random(3)
    copy = os.path.join(folder, "short.emoe")
    for length in [0, 1, 63, 64, 4095, 4096, size - 4096, size - 1] + [rng.randrange(size) for _ in range(20)]:
        shutil.copyfile(bundle, copy)
        os.truncate(copy, length)
        for command in ("verify", "run"):
            result = run(EMOE_RT, command, copy, *(ARGUMENTS if command == "run" else ()), check=False)
            assert result.returncode == 3, (length, command, result)
    with open(copy, "wb") as out, open(bundle, "rb") as source:
        out.write(source.read() + b"junk")
    assert run(EMOE_RT, "verify", copy, check=False).returncode == 3
    print("truncated and extended files: all refused")


def check_full_disk(folder):
    """A compile that runs out of space leaves nothing under the final name."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode == 0
    if not mounted:
        print("full disk: not tried, mounting a small tmpfs needs root")
        return
    try:
        result = run(EMOEC, "compile", f"{SHIPPED}/model.onnx", "-o", f"{disk}/out.emoe", "--target", "host", check=False)
        assert result.returncode == 4, result
        assert os.listdir(disk) == [], os.listdir(disk)
        print("full disk:", result.stderr.decode().strip().splitlines()[-1])
    finally:
        subprocess.run(["umount", disk], check=True)


def main():
    bundle = compile_model(f"{SHIPPED}/model.onnx")
    floor = plan(bundle, "--ctx", "128")["floor"]
    result = generate(bundle, "--memory-budget", str(floor))
    assert result.returncode == 0, result
    good = result.stdout
    with tempfile.TemporaryDirectory() as folder:
        check_headers(bundle, folder)
        check_truncated(bundle, folder)
        check_damaged_records(bundle, good.rstrip(b"\n"), floor, folder)
        check_damaged_while_running(bundle, folder)
        check_read_errors(bundle, good, floor)
        check_full_disk(folder)


if __name__ == "__main__":
    sys.exit(main())
