#include "tools/emoe-rt/routing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/start.h"

namespace emoe::rt {
namespace {

// A cursor on one line of JSON.
struct Cursor {
  const char *at, *end;

  char Skip() {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) ++at;
    return at < end ? *at : 0;
  }
  bool Take(char c) {
    if (Skip() != c) return false;
    ++at;
    return true;
  }
  bool Number(uint32_t *value) {
    Skip();
    const char *start = at;
    uint64_t n = 0;
    while (at < end && *at >= '0' && *at <= '9' && n <= UINT32_MAX) n = n * 10 + static_cast<uint64_t>(*at++ - '0');
    *value = static_cast<uint32_t>(n);
    return at != start && n <= UINT32_MAX;
  }
};

}  // namespace

Routing::~Routing() { free(ids_); }

int Routing::Open(const char *path, const Bundle &bundle) {
  bundle_ = &bundle;
  for (const MoeLayer &layer : bundle.moe_layers) row_ += layer.top_k;
  char *text = nullptr;
  size_t bytes = 0;
  if (!ReadWhole(path, &text, &bytes)) {
    return Fail(4, "%s: cannot read the routing: %s; check the path", path, strerror(errno));
  }
  size_t lines = 1;
  for (size_t i = 0; i < bytes; ++i) lines += text[i] == '\n';
  ids_ = static_cast<int32_t *>(malloc(lines * row_ * sizeof(int32_t) + 1));
  if (ids_ == nullptr) return Fail(5, "no memory for the routing of %llu tokens", static_cast<unsigned long long>(lines));
  int code = 0;
  for (const char *line = text, *end = text + bytes; line < end && code == 0;) {
    const auto *stop = static_cast<const char *>(memchr(line, '\n', static_cast<size_t>(end - line)));
    if (stop == nullptr) stop = end;
    Cursor blank{line, stop};
    if (blank.Skip() != 0) {
      code = ReadLine(path, line, stop, ids_ + tokens_ * row_);
      ++tokens_;
    }
    line = stop + 1;
  }
  free(text);
  if (code == 0 && tokens_ == 0) code = Fail(2, "%s: it holds no routing; give a trace as emoe-rt run --trace writes it", path);
  return code;
}

int Routing::ReadLine(const char *path, const char *line, const char *end, int32_t *row) {
  const unsigned long long number = tokens_ + 1;
  static const char kKey[] = "\"layers\"";
  const auto *key = static_cast<const char *>(memmem(line, static_cast<size_t>(end - line), kKey, sizeof(kKey) - 1));
  Cursor in{key == nullptr ? end : key + sizeof(kKey) - 1, end};
  if (!in.Take(':') || !in.Take('[')) {
    return Fail(2, "%s: token %llu has no \"layers\": [[...], ...]; give a trace as emoe-rt run --trace writes it", path, number);
  }
  for (size_t i = 0; i < bundle_->moe_layers.size; ++i) {
    const MoeLayer &layer = bundle_->moe_layers[i];
    const auto number_of_layer = static_cast<unsigned>(i);
    if ((i != 0 && !in.Take(',')) || !in.Take('[')) {
      return Fail(2, "%s: token %llu has routing for %u layers, the model has %u; take a trace of at least as many", path, number,
                  number_of_layer, static_cast<unsigned>(bundle_->moe_layers.size));
    }
    for (uint32_t k = 0; k < layer.top_k; ++k) {
      uint32_t expert = 0;
      if ((k != 0 && !in.Take(',')) || !in.Number(&expert)) {
        return Fail(2, "%s: token %llu, layer %u: %u experts are chosen, the model's layer chooses %u; take a trace of such a model",
                    path, number, number_of_layer, k, layer.top_k);
      }
      bool twice = false;
      for (uint32_t j = 0; j < k; ++j) twice |= row[j] == static_cast<int32_t>(expert);
      if (expert >= layer.experts || twice) {
        return Fail(2, "%s: token %llu, layer %u: expert %u is %s; take a trace of a model with at most as many", path, number,
                    number_of_layer, expert, twice ? "chosen twice" : "more than the model's layer has");
      }
      row[k] = static_cast<int32_t>(expert);
    }
    if (!in.Take(']')) {
      return Fail(2, "%s: token %llu, layer %u: more than %u experts are chosen; take a trace of a model that chooses as many",
                  path, number, number_of_layer, layer.top_k);
    }
    row += layer.top_k;
  }
  return 0;
}

void Routing::Attach(SessionOptions *options) {
  options->route = Route;
  options->route_user = this;
}

void Routing::Route(void *user, uint64_t position, uint32_t layer, int32_t *ids, uint32_t top_k) {
  const auto &routing = *static_cast<Routing *>(user);
  const int32_t *at = routing.ids_ + (routing.start_ + position) % routing.tokens_ * routing.row_;
  for (uint32_t i = 0; i < layer; ++i) at += routing.bundle_->moe_layers[i].top_k;
  memcpy(ids, at, top_k * sizeof(int32_t));
}

}  // namespace emoe::rt
