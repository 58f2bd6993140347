#include "tools/emoe-rt/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/experts/predict.h"
#include "tools/emoe-rt/output.h"

namespace emoe::rt {

TraceFile::~TraceFile() {
  Close();
  free(ids_);
}

int TraceFile::Open(const char *path, const Bundle &bundle, uint32_t chunk) {
  bundle_ = &bundle;
  chunk_ = chunk;
  for (const MoeLayer &layer : bundle.moe_layers) row_ += layer.top_k + RankedExperts(layer.experts, layer.top_k);
  for (const Step &step : bundle.steps) looks_ahead_ |= step.kind == StepKind::kLookAhead;
  size_t bytes = size_t{chunk_} * row_ * sizeof(int32_t);
  ids_ = static_cast<int32_t *>(malloc(bytes));
  if (ids_ == nullptr) return Fail(5, "no memory for the trace of %u tokens", chunk);
  memset(ids_, 0xff, bytes);
  fd_ = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  return fd_ >= 0 ? 0 : Fail(4, "%s: cannot write the trace: %s", path, strerror(errno));
}

void TraceFile::Attach(SessionOptions *options) {
  options->trace = Routed;
  options->trace_user = this;
  if (!looks_ahead_) return;
  options->look_ahead = LookedAhead;
  options->look_ahead_user = this;
}

void TraceFile::Begin(const char *text) {
  const char *slash = strrchr(text, '/');
  text_ = slash != nullptr ? slash + 1 : text;
}

void TraceFile::Routed(void *user, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t top_k) {
  auto &trace = *static_cast<TraceFile *>(user);
  int32_t *at = trace.ids_ + position % trace.chunk_ * trace.row_;
  for (uint32_t i = 0; i < layer; ++i) at += trace.bundle_->moe_layers[i].top_k;
  // Ascending, whatever order the router gives.
  for (uint32_t i = 0; i < top_k; ++i) {
    uint32_t to = i;
    for (; to > 0 && at[to - 1] > ids[i]; --to) at[to] = at[to - 1];
    at[to] = ids[i];
  }
  if (layer + 1 == trace.bundle_->moe_layers.size) trace.Line(position);
}

void TraceFile::LookedAhead(void *user, uint64_t position, uint32_t layer, const int32_t *ranked, uint32_t count) {
  auto &trace = *static_cast<TraceFile *>(user);
  int32_t *at = trace.ids_ + position % trace.chunk_ * trace.row_;
  for (const MoeLayer &moe : trace.bundle_->moe_layers) at += moe.top_k;
  for (uint32_t i = 0; i < layer; ++i) {
    at += RankedExperts(trace.bundle_->moe_layers[i].experts, trace.bundle_->moe_layers[i].top_k);
  }
  memcpy(at, ranked, count * sizeof(int32_t));
}

void TraceFile::Line(uint64_t position) {
  char number[64];
  snprintf(number, sizeof(number), "{\"tok\": %llu", static_cast<unsigned long long>(position + 1));
  Put(number);
  if (text_ != nullptr) {
    Put(", \"domain\": \"");
    for (const char *c = text_; *c != 0; ++c) {  // names with characters that JSON escapes lose them
      char letter[2] = {*c, 0};
      if (*c != '"' && *c != '\\' && (*c & 0xff) >= 0x20) Put(letter);
    }
    Put("\"");
    text_ = nullptr;
  }
  const int32_t *at = ids_ + position % chunk_ * row_;
  const Span<MoeLayer> &layers = bundle_->moe_layers;
  Put(", \"layers\": [");
  for (size_t i = 0; i < layers.size; ++i) {
    if (i != 0) Put(", ");
    PutList(at, layers[i].top_k);
    at += layers[i].top_k;
  }
  Put("]");
  if (looks_ahead_) {
    Put(", \"ahead\": [");
    for (size_t i = 0; i < layers.size; ++i) {
      uint32_t ranked = RankedExperts(layers[i].experts, layers[i].top_k);
      if (i != 0) Put(", ");
      PutList(at, at[0] < 0 ? 0 : ranked);
      at += ranked;
    }
    Put("]");
  }
  Put("}\n");
}

void TraceFile::Put(const char *text) {
  size_t size = strlen(text);
  if (used_ + size > sizeof(buffer_)) Flush();
  memcpy(buffer_ + used_, text, size);  // pieces are far shorter than the buffer
  used_ += size;
}

void TraceFile::PutList(const int32_t *ids, uint32_t count) {
  Put("[");
  for (uint32_t i = 0; i < count; ++i) {
    char number[16];
    snprintf(number, sizeof(number), i == 0 ? "%d" : ", %d", ids[i]);
    Put(number);
  }
  Put("]");
}

void TraceFile::Flush() {
  ok_ = ok_ && WriteAll(fd_, buffer_, used_);
  used_ = 0;
}

bool TraceFile::Close() {
  if (fd_ < 0) return ok_;
  Flush();
  ok_ = close(fd_) == 0 && ok_;
  fd_ = -1;
  return ok_;
}

}  // namespace emoe::rt
