#include "runtime/memory/panels.h"

#include "runtime/bundle/check.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {

PanelMemory PlanPanels(const Bundle &bundle, uint32_t chunk) {
  PanelMemory memory;
  for (const Tensor &tensor : bundle.tensors) {
    uint64_t bytes = 0;
    // At most the tensor's bytes, which the file has.
    if (!tensor.paged || !PanelBytes(tensor.layout, tensor.columns, &bytes)) continue;
    if (bytes > memory.panel_bytes) memory.panel_bytes = bytes;
  }
  if (memory.panel_bytes == 0) return memory;
  // A panel begins anywhere in its first page.
  memory.read_bytes = (memory.panel_bytes + 2 * kPageBytes - 2) / kPageBytes * kPageBytes;
  memory.kept = chunk < kMostPanels ? chunk : kMostPanels;
  memory.reads = memory.kept < kPanelReads ? memory.kept : kPanelReads;
  return memory;
}

}  // namespace emoe::rt
