#include "compiler/schedule/buffers.h"

#include <algorithm>
#include <numeric>

namespace emoe {

std::vector<size_t> assignSlots(const std::vector<BufferLife> &buffers) {
  // Largest first: what comes later fits into what is there.
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return buffers[a].perToken + buffers[a].fixed > buffers[b].perToken + buffers[b].fixed;
  });
  std::vector<std::vector<size_t>> members;
  std::vector<size_t> slots(buffers.size());
  for (size_t buffer : order) {
    const BufferLife &life = buffers[buffer];
    auto fits = [&](const std::vector<size_t> &slot) {
      return std::all_of(slot.begin(), slot.end(), [&](size_t other) {
        return buffers[other].last < life.first || buffers[other].first > life.last;
      });
    };
    auto slot = std::find_if(members.begin(), members.end(), fits);
    if (slot == members.end()) {
      slot = members.emplace(members.end());
    }
    slot->push_back(buffer);
    slots[buffer] = slot - members.begin();
  }
  return slots;
}

} // namespace emoe
