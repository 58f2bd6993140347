// Opens, verifies and walks whatever bytes come, and loads what looks like a kernel image. Under libFuzzer the mutator
// starts from a small good bundle, changes header and index, and mostly repairs the checksums, so that the checks
// behind them are reached: bundle_fuzz -max_len=262144 CORPUS
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/memory_provider.h"
#include "runtime/image/image.h"
#include "schema/format.h"
#include "test/support/small_model.h"

using namespace emoe::rt;

namespace {

// What an accepted bundle promises: these accesses stay inside its memory.
uint64_t walk(const Bundle &bundle) {
  uint64_t sum = 0;
  for (const Step &step : bundle.steps) {
    for (const Operand &operand : step.operands) {
      if (operand.kind == OperandKind::kBuffer) {
        sum += bundle.buffers[operand.index].per_token;
      } else if (operand.kind == OperandKind::kTensor) {
        sum += bundle.tensors[operand.index].offset;
      }
    }
    if (step.kind == StepKind::kKernel) {
      sum += bundle.kernel_table[step.kernel].tiles_fixed;
    } else {
      for (const Variant &variant : bundle.moe_layers[step.layer].variants) {
        sum += bundle.kernel_table[variant.down_kernel].extents[2].per_token;
      }
    }
  }
  return sum + bundle.buffers[bundle.logits].per_token;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size >= 4 && std::memcmp(data, "\177ELF", 4) == 0) {
    const uint64_t entries[] = {4096, 65536};
    Image image{};
    image.machine = CpuMachine();
    image.bytes = size;
    image.entries = {entries, 1};
    LoadedImage loaded;
    if (LoadImage(data, size, image, &loaded).ok()) {
      UnloadImage(&loaded);
    }
    return 0;
  }
  std::vector<uint8_t> bytes(data, data + size);
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  if (OpenBundle(provider, &bundle).ok()) {
    if (bundle.has_model && walk(bundle) == UINT64_MAX) {
      std::abort(); // keeps the walk
    }
    (void)VerifyBundle(provider, bundle, nullptr, nullptr);
    CloseBundle(&bundle);
  }
  return 0;
}

#ifdef EMOE_FUZZ
extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  static const std::vector<uint8_t> good = emoe::test::bundleWithIndex([](emoe::fb::BundleT &) {});
  if (size < good.size() && good.size() <= maxSize) {
    std::memcpy(data, good.data(), good.size());
    return good.size();
  }
  emoe_section index;
  std::memcpy(&index, good.data() + sizeof(emoe_header), sizeof(index));
  // The index most of the time, sometimes header and section table, in place.
  size_t begin = seed % 8 ? index.offset : 0, bytes = seed % 8 ? index.length : 512;
  if (begin + bytes > size) {
    return LLVMFuzzerMutate(data, size, maxSize);
  }
  std::vector<uint8_t> part(data + begin, data + begin + bytes);
  size_t now = LLVMFuzzerMutate(part.data(), bytes, bytes);
  std::memcpy(data + begin, part.data(), now);
  if (seed % 16 != 1) {
    std::vector<uint8_t> repaired(data, data + size);
    emoe::test::repairChecksums(repaired);
    std::memcpy(data, repaired.data(), size);
  }
  return size;
}
#endif
