"""emoe-rt is small and needs libc alone. Usage: size.py EMOE_RT"""
import pathlib
import re
import subprocess
import sys
import tempfile

LIMIT = 400 * 1024


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(tool):
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "emoe-rt"
        run("strip", "-o", stripped, tool)
        size = stripped.stat().st_size
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", tool))
    undefined = [name for name in re.findall(r" U (\S+)", run("nm", "-D", "--undefined-only", tool))]
    foreign = [name for name in undefined if not re.search(r"@GLIBC_", name)]
    print(f"{size} bytes stripped (limit {LIMIT}), NEEDED {needed}, {len(undefined)} undefined symbols")
    if foreign:
        print("not of libc:", *foreign)
    libraries = {"libc.so.6", "ld-linux-aarch64.so.1", "ld-linux-x86-64.so.2"}
    return 0 if size <= LIMIT and set(needed) <= libraries and not foreign else 1


sys.exit(main(sys.argv[1]))
