// Compiles kernels for a target and runs them, in this process or under the emulator.
#ifndef EMOE_TEST_SUPPORT_IMAGE_RUNNER_H_
#define EMOE_TEST_SUPPORT_IMAGE_RUNNER_H_

#include <string>
#include <vector>

#include "compiler/codegen/image.h"
#include "test/support/image_call.h"

namespace emoe::test {

// The targets that this machine can run: its own CPU's, with AVX-512 also the twin of AVX-VNNI's, and AArch64's if the
// build found a cross compiler and qemu.
const std::vector<const Target *> &runnableTargets();

// The image of these kernels, kept for the next call; a failure is reported to GoogleTest and gives an empty image.
const KernelImage &imageFor(const std::vector<KernelSpec> &specs, const Target &target);

// Runs one kernel; all tiles unless the call says which (lastTile > 0). The result is empty or what went wrong.
std::string runKernel(const KernelSpec &spec, const Target &target, KernelCall &call);

// The same for a kernel of any image. `tiles`: what lastTile is if the call leaves it 0.
std::string runImage(const KernelImage &image, uint64_t entry, const Target &target, int64_t tiles, KernelCall &call);

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_IMAGE_RUNNER_H_
