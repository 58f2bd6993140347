#include "runtime/engine/panels.h"

#include <string.h>

#include "runtime/bundle/check.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/memory/budget.h"
#include "schema/kernel_abi.h"

namespace emoe::rt {

void Panels::Init(const Bundle &bundle, const PanelMemory &plan, char *memory, ExpertRunner *runner) {
  bundle_ = &bundle;
  plan_ = plan;
  runner_ = runner;
  reads_ = memory;
  panels_ = memory + plan.reads * plan.read_bytes;
  Forget();
}

void Panels::Forget() {
  for (uint32_t i = 0; i < kMostPanels; ++i) {
    panel_[i] = UINT32_MAX;
    used_[i] = 0;
  }
}

void Panels::AddTo(SessionStats *stats) const {
  stats->panels_read = panels_read_;
  stats->panel_bytes_read = bytes_read_;
  stats->rereads += rereads_;
}

Status Panels::Bring(uint32_t tensor, const int32_t *tokens, uint32_t count) {
  if (tensor != tensor_) {
    Forget();
    tensor_ = tensor;
    first_crc_ = 1;
    for (uint32_t i = 0; i < tensor; ++i) {
      const Tensor &before = bundle_->tensors[i];
      if (before.paged) first_crc_ += (uint64_t{before.rows} + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS;
    }
    PanelBytes(bundle_->tensors[tensor].layout, bundle_->tensors[tensor].columns, &panel_bytes_);
  }
  ++now_;
  uint32_t missing[kMostPanels], missing_count = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const auto token = static_cast<uint32_t>(tokens[i]);
    bool kept = false;
    const uint32_t place = PlaceOf(token / EMOE_PANEL_ROWS, &kept);
    if (!kept) missing[missing_count++] = place;
    rows_[i] = static_cast<int32_t>(place * EMOE_PANEL_ROWS + token % EMOE_PANEL_ROWS);
  }
  for (uint32_t done = 0; done < missing_count;) {
    const uint32_t left = missing_count - done, some = left < plan_.reads ? left : plan_.reads;
    Status status = Read(missing + done, some);
    if (!status.ok()) {
      Forget();
      return status;
    }
    done += some;
  }
  return OkStatus();
}

// Where a panel is, or will be in place of the one that was not used for longest: never of one that this call uses, since
// there are as many places as tokens.
uint32_t Panels::PlaceOf(uint32_t panel, bool *kept) {
  uint32_t oldest = 0;
  for (uint32_t i = 0; i < plan_.kept; ++i) {
    if (panel_[i] == panel) {
      used_[i] = now_;
      *kept = true;
      return i;
    }
    if (used_[i] < used_[oldest]) oldest = i;
  }
  panel_[oldest] = panel;
  used_[oldest] = now_;
  return oldest;
}

// Reads the panels that belong at these places; at most plan_.reads.
Status Panels::Read(const uint32_t *places, uint32_t count) {
  const uint64_t begin = bundle_->resident.offset + bundle_->tensors[tensor_].offset;
  ReadRequest requests[kPanelReads];
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t offset = begin + panel_[places[i]] * panel_bytes_, page = offset / kPageBytes * kPageBytes;
    const uint64_t end = (offset + panel_bytes_ + kPageBytes - 1) / kPageBytes * kPageBytes;  // the file has it
    requests[i] = {page, reads_ + i * plan_.read_bytes, static_cast<uint32_t>(end - page), 0};
  }
  RT_RETURN_IF_ERROR(runner_->ReadPages(requests, count));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t panel = panel_[places[i]];
    const uint64_t offset = begin + panel * panel_bytes_;
    RT_RETURN_IF_ERROR(Check(requests[i], panel, offset));
    memcpy(panels_ + places[i] * panel_bytes_,
           static_cast<const char *>(requests[i].out) + (offset - requests[i].offset), panel_bytes_);
    ++panels_read_;
    bytes_read_ += requests[i].bytes;
  }
  return OkStatus();
}

// As with records, wrong bytes may have come from the page cache or the wire: once more from the device.
Status Panels::Check(const ReadRequest &request, uint32_t panel, uint64_t offset) {
  const char *bytes = static_cast<const char *>(request.out) + (offset - request.offset);
  const uint32_t expected = bundle_->panel_crcs[first_crc_ + panel];
  if (Crc32c(bytes, panel_bytes_) == expected) return OkStatus();
  ++rereads_;
  RT_RETURN_IF_ERROR(runner_->ReadPagesAgain(request));
  if (Crc32c(bytes, panel_bytes_) == expected) return OkStatus();
  return Error(StatusCode::kBadBundle, "a panel of a paged tensor is damaged (offset, panel)", offset, panel);
}

}  // namespace emoe::rt
