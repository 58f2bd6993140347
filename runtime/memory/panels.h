// How much memory panels of paged tensors get, where the tensors themselves are not in memory.
#ifndef EMOE_RUNTIME_MEMORY_PANELS_H_
#define EMOE_RUNTIME_MEMORY_PANELS_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

constexpr uint32_t kMostPanels = 32;  // that are kept, so tokens that are looked up by one kernel call
constexpr uint32_t kPanelReads = 4;   // that may be in flight together

struct PanelMemory {
  uint64_t panel_bytes = 0;   // the largest panel; 0: no tensor is paged
  uint64_t read_bytes = 0;    // of whole pages that hold any panel
  uint32_t kept = 0, reads = 0;

  // What is read comes first, from a page's start on.
  uint64_t bytes() const { return reads * read_bytes + kept * panel_bytes; }
};

// For chunks of so many tokens.
PanelMemory PlanPanels(const Bundle &bundle, uint32_t chunk);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_MEMORY_PANELS_H_
