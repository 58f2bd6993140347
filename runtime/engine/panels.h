// Looks rows up in tensors that are not in memory: reads the panels that hold them, and checks each before it is used.
//
// A kernel gets the kept panels as its tensor, and row numbers in these as its token ids: the same bytes give the same
// result. Panels stay until others need their place.
#ifndef EMOE_RUNTIME_ENGINE_PANELS_H_
#define EMOE_RUNTIME_ENGINE_PANELS_H_

#include "runtime/bundle/bundle.h"
#include "runtime/engine/expert_runner.h"
#include "runtime/engine/stats.h"
#include "runtime/memory/panels.h"

namespace emoe::rt {

class Panels {
 public:
  // `memory`: plan.bytes() bytes from a page's start on. Reads go by the reader of `runner`. All outlive this object.
  void Init(const Bundle &bundle, const PanelMemory &plan, char *memory, ExpertRunner *runner);

  // Tokens that fit one Bring.
  uint32_t most_tokens() const { return plan_.kept; }

  // Makes rows `tokens` (count <= most_tokens(), each below the tensor's rows) of a paged tensor available at rows()
  // of weights(), until the next call. kIo; kBadBundle: damaged; detail = offset in the file, detail2 = panel.
  Status Bring(uint32_t tensor, const int32_t *tokens, uint32_t count);
  const int32_t *rows() const { return rows_; }
  const char *weights() const { return panels_; }

  void AddTo(SessionStats *stats) const;

 private:
  uint32_t PlaceOf(uint32_t panel, bool *kept);
  Status Read(const uint32_t *places, uint32_t count);
  Status Check(const ReadRequest &request, uint32_t panel, uint64_t offset);
  void Forget();

  const Bundle *bundle_ = nullptr;
  ExpertRunner *runner_ = nullptr;
  PanelMemory plan_;
  char *reads_ = nullptr, *panels_ = nullptr;

  uint32_t tensor_ = UINT32_MAX;   // whose panels are kept
  uint64_t first_crc_ = 0, panel_bytes_ = 0;  // of this tensor
  uint32_t panel_[kMostPanels];    // at each place; UINT32_MAX: none
  uint64_t used_[kMostPanels];     // when it was used last
  uint64_t now_ = 0;
  int32_t rows_[kMostPanels];
  uint64_t panels_read_ = 0, bytes_read_ = 0, rereads_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_PANELS_H_
