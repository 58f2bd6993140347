// Kernel images: specifications -> one position-independent ELF image per instruction set.
#ifndef EMOE_COMPILER_CODEGEN_IMAGE_H_
#define EMOE_COMPILER_CODEGEN_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "compiler/codegen/kernel.h"

namespace emoe {

// An instruction set that kernels are generated for.
struct Target {
  std::string name;         // "x86-64-v3": what --target, --isa and `emoec targets` say
  std::string description;  // one line for people
  std::string triple, cpu, features;
  uint16_t machine;         // EMOE_MACHINE_*
  uint64_t cpuFeatures;     // EMOE_CPU_* that the runtime checks
};

// x86-64 (generic), x86-64-v3 (AVX2), x86-64-v3-vnni, x86-64-v4-vnni, aarch64 (generic), aarch64-dotprod, aarch64-i8mm;
// best last per machine.
absl::Span<const Target> allTargets();

// The kernels of x86-64-v3-vnni in the encoding that CPUs with AVX-512 have, which often lack the other: for tests and
// measurements. `cpuFeatures` says what the code is made of, not what runs it.
const Target &avxVnniTwin();

// NotFound lists the names that exist. "host" is the best target of this machine.
absl::StatusOr<const Target *> findTarget(std::string_view name);

// A shared ELF image without imports; needs relative relocations at most; no segment is writable and executable.
struct KernelImage {
  std::vector<uint8_t> elf;
  std::vector<uint64_t> entries;  // virtual address of specs[i]'s kernel
};

struct ImageOptions {
  bool exact = false;      // float32 activations whatever the width: specs say so themselves; kept for provenance
  bool genericTiles = false;  // tile products by plain vector arithmetic on every target: for measurements
  std::string saveTemps;   // folder for the MLIR, LLVM IR and assembly of each image; empty: none
};

// Generates, optimises and links (LLD, in process). Deterministic. Internal errors name the kernel.
absl::StatusOr<KernelImage> compileImage(absl::Span<const KernelSpec> specs, const Target &target,
                                         mlir::MLIRContext &context, const ImageOptions &options);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_IMAGE_H_
