// Fuzzes the ONNX frontend: any bytes give an error or a module that verifies. Seeds: onnx_seeds.
#include <cstdint>
#include <cstdlib>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include "frontends/onnx/onnx.h"
#include "mlir/IR/Verifier.h"

// The frontend maps files; the input becomes one in memory. External data of such a model is never found.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const int file = ::memfd_create("model.onnx", MFD_CLOEXEC);
  if (file < 0 || ::write(file, data, size) != static_cast<ssize_t>(size)) {
    std::abort();
  }
  {
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    emoe::WeightStore store;
    auto module = emoe::onnx::importModel("/proc/self/fd/" + std::to_string(file), context, store);
    if (module.ok() ? failed(mlir::verify(**module)) : module.status().message().empty()) {
      std::abort();
    }
  }
  ::close(file);
  return 0;
}
