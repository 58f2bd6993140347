#!/usr/bin/env bash
# Line coverage of the bundle's checks by the fuzz target and by it together with the unit tests: fails if the fuzz target
# reaches less than 90 % of all their lines, or both together less than 90 % of a file's. Takes minutes; needs clang-19.
# test/fuzz/coverage.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
build=build-coverage
llvm=$(dirname "$(readlink -f "$(command -v llvm-cov-19)")")
checked=(runtime/bundle/check.cpp runtime/bundle/flat.cpp runtime/bundle/index.cpp runtime/bundle/sections.cpp)
tests=(runtime.bundle.bad_index runtime.bundle.bad_bytes)

mkdir -p $build
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang-19 \
  -DCMAKE_CXX_COMPILER=clang++-19 -DEMOE_FUZZ=ON -DEMOE_BUILD_TESTS=ON -DEMOE_SANITIZE=undefined \
  -DCMAKE_CXX_FLAGS="-fprofile-instr-generate -fcoverage-mapping" >$build/build.log
cmake --build $build --target bundle_fuzz "${tests[@]}" >>$build/build.log
rm -f $build/*.profraw
mkdir -p $build/corpus
LLVM_PROFILE_FILE=$build/fuzz.profraw $build/fuzz/bundle_fuzz -max_total_time="$seconds" -max_len=262144 -timeout=10 \
  -rss_limit_mb=1024 $build/corpus 2>&1 | tail -n 1
for test in "${tests[@]}"; do
  LLVM_PROFILE_FILE=$build/$test.profraw $build/test/"$test" --gtest_brief=1
done

# covered all|each PROFILES... -- OBJECTS...: prints a line a file; fails below 90 % of all lines, or of each file's.
covered() {
  local what=$1
  shift
  local profiles=() objects=()
  while [ "$1" != -- ]; do profiles+=("$1"); shift; done
  shift
  local first=$1
  shift
  for object in "$@"; do objects+=(-object "$object"); done
  "$llvm"/llvm-profdata merge -o $build/all.profdata "${profiles[@]}"
  "$llvm"/llvm-cov export -summary-only -instr-profile $build/all.profdata "$first" "${objects[@]}" |
    python3 -c '
import json, sys
what, checked = sys.argv[1], sys.argv[2:]
covered = count = 0
least = 100.0
for file in json.load(sys.stdin)["data"][0]["files"]:
    name = next((c for c in checked if file["filename"].endswith(c)), None)
    if name:
        lines = file["summary"]["lines"]
        print("  %-28s %4d of %4d lines, %.1f %%" % (name, lines["covered"], lines["count"], lines["percent"]))
        covered, count, least = covered + lines["covered"], count + lines["count"], min(least, lines["percent"])
share = 100 * covered / max(count, 1)
print("  together %.1f %%" % share)
sys.exit(count == 0 or (share if what == "all" else least) < 90)' "$what" "${checked[@]}"
}
status=0
echo "the fuzz target, $seconds s from an empty corpus or the one in $build/corpus:"
covered all $build/fuzz.profraw -- $build/fuzz/bundle_fuzz || status=1
echo "the fuzz target and the tests:"
covered each $build/*.profraw -- $build/fuzz/bundle_fuzz "${tests[@]/#/$build/test/}" || status=1
exit $status
