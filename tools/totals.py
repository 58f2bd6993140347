#!/usr/bin/env python3
"""Adds up the totals that the test runners printed into the logs of a folder: ctest, GoogleTest, lit.

Prints one line per runner, what failed and how, and one line in the end. Fails if the folder holds no total, or if a
test that needs ../shared was skipped although ../shared is there.
"""
import os
import re
import sys


def main() -> int:
    folder = sys.argv[1]
    passed = failed = skipped = 0
    shared_skips = []
    failures = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".log"):
            continue
        with open(os.path.join(folder, name), errors="replace") as log:
            text = log.read()
        for match in re.finditer(r"(\d+)% tests passed, (\d+) tests failed out of (\d+)", text):
            bad, total = int(match.group(2)), int(match.group(3))
            not_run = len(re.findall(r"\*\*\*(?:Skipped|Not Run)", text))
            print(f"{name[:-4]}: ctest {total - bad - not_run} passed, {bad} failed, {not_run} skipped")
            passed += total - bad - not_run
            failed += bad
            skipped += not_run
        failures += re.findall(r"^\s+\d+ - .*\((?!Skipped|Disabled).*\).*$", text, re.M)
        shared_skips += [line.strip() for line in text.splitlines() if re.search(r"(?i)skip.*shared", line)]
    for build in ("build", "build-asan", "build-tsan"):
        path = os.path.join(build, "Testing", "Temporary", "LastTest.log")
        if not os.path.exists(path):
            continue
        with open(path, errors="replace") as log:
            text = log.read()
        gtest = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) tests?", text))
        gtest_failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) tests?,", text))
        gtest_skipped = sum(int(n) for n in re.findall(r"\[  SKIPPED \] (\d+) tests?", text))
        lit = sum(int(n) for n in re.findall(r"^\s+Passed\s*:\s*(\d+)", text, re.M))
        lit_failed = sum(int(n) for n in re.findall(r"^\s+Failed\s*:\s*(\d+)", text, re.M))
        failures += re.findall(r"^\S+: Failure\n(?:.+\n){1,6}", text, re.M)[:20]
        failures += re.findall(r"^(?:WARNING|ERROR|SUMMARY): \w+Sanitizer.*$", text, re.M)[:20]
        print(f"{build}: GoogleTest {gtest} passed, {gtest_failed} failed, {gtest_skipped} skipped; "
              f"lit {lit} passed, {lit_failed} failed")
        shared_skips += [line.strip() for line in text.splitlines() if re.search(r"(?i)skip.*shared", line)]
    if passed + failed == 0:
        print("totals: no test ran")
        return 1
    for failure in failures:
        print(f"failed: {failure.strip()}")
    shared = os.environ.get("EMOE_SHARED", "../shared")
    if os.path.isdir(shared) and shared_skips:
        print(f"totals: {shared} is there, but tests that need it were skipped:")
        for line in shared_skips[:20]:
            print(f"  {line}")
        failed += len(shared_skips)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
