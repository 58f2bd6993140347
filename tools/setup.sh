#!/usr/bin/env bash
# Installs what is missing of Debian 12's packages. Arguments: "build" (what a build needs), "test" (what the tests
# need beside it). Runs as root or with sudo; does nothing, and asks for nothing, where everything is there.
set -euo pipefail

build_packages=(cmake ninja-build g++ ccache python3
  lld-19 liblld-19-dev llvm-19-dev llvm-19-tools libmlir-19-dev mlir-19-tools
  flatbuffers-compiler flatbuffers-compiler-dev libflatbuffers-dev libabsl-dev
  protobuf-compiler libprotobuf-dev libonnx-dev libgtest-dev zlib1g-dev libzstd-dev)
test_packages=(clang-19 libclang-rt-19-dev g++-aarch64-linux-gnu qemu-user-static binutils strace python3-venv
  ca-certificates)

packages=()
for kind in "$@"; do
  case "$kind" in
    build) packages+=("${build_packages[@]}") ;;
    test) packages+=("${test_packages[@]}") ;;
    *) echo "setup.sh: unknown argument $kind; use build or test" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup.sh: needs root or sudo to install: ${missing[*]}" >&2; exit 4; }
  as_root=(sudo)
fi
echo "setup: installing ${#missing[@]} packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
