"""The arrows of ARCHITECTURE.md: which folder may include which. Usage: layers.py SOURCE_FOLDER"""
import pathlib
import re
import sys

ALLOWED = {
    "schema": {"schema"},
    "runtime": {"runtime", "schema"},
    "dialects": {"dialects"},
    "frontends": {"frontends", "dialects"},
    "compiler": {"compiler", "dialects", "frontends", "schema", "runtime"},
}
OURS = set(ALLOWED) | {"tools", "test"}
# The runtime's world: C headers of libc and the kernel, and C++ headers without a library behind them.
RUNTIME_SYSTEM = re.compile(r"(atomic|new|initializer_list|[a-z0-9_]+\.h|(sys|linux|asm)/[a-z0-9_]+\.h)")


def main(root):
    problems, files = [], 0
    for folder, allowed in ALLOWED.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".h", ".c", ".cpp"}:
                continue
            files += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
                if not match:
                    continue
                target = match[2].split("/")[0]
                where = f"{path.relative_to(root)}:{number}: includes {match[2]}"
                if target in OURS and "/" in match[2]:
                    if target not in allowed:
                        problems.append(where)
                elif folder in {"runtime", "schema"} and not (match[1] == "<" and RUNTIME_SYSTEM.fullmatch(match[2])):
                    problems.append(where)
    print(f"{files} files, {len(problems)} forbidden includes")
    print("\n".join(problems))
    return 1 if problems or files == 0 else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
