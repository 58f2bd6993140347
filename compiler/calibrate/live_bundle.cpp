#include "compiler/calibrate/live_bundle.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/bundle/crc32c.h"

namespace emoe {

absl::StatusOr<std::unique_ptr<LiveBundle>> LiveBundle::open(BundleContents contents, PackRecord pack) {
  std::unique_ptr<LiveBundle> live(new LiveBundle(std::move(contents), std::move(pack)));
  if (absl::Status status = live->layOut(); !status.ok()) {
    return status;
  }
  return live;
}

LiveBundle::~LiveBundle() { rt::CloseBundle(&opened); }

absl::Status LiveBundle::layOut() {
  absl::StatusOr<uint64_t> laidOut = layOutBundle(contents, [&](uint64_t offset, const uint8_t *from, size_t size) {
    pieces.emplace_back(offset, std::vector<uint8_t>(from, from + size));
  });
  if (!laidOut.ok()) {
    return laidOut.status();
  }
  bytes = *laidOut;
  contents.images.clear();  // the pieces have them
  contents.index = {};
  if (rt::Status status = rt::OpenBundle(*this, &opened); !status.ok()) {
    return absl::InternalError(absl::StrCat("the runtime refuses the bundle that calibration would run: ", status.what,
                                            ": ", status.detail, ", ", status.detail2));
  }
  for (const rt::MoeLayer &layer : opened.moe_layers) {
    for (const rt::Variant &variant : layer.variants) {
      recordStride = std::max<uint64_t>(recordStride, variant.record_bytes);
      crcStride = std::max(crcStride, variant.chunk_ends.size);
    }
  }
  layers.assign(opened.moe_layers.begin(), opened.moe_layers.end());
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (uint32_t expert = 0; expert < layers[layer].experts; ++expert) {
      size_t key = records.size();
      records.push_back({bytes - opened.experts.offset + key * recordStride, static_cast<uint32_t>(key * crcStride),
                         layers[layer].records[expert].variant});
      places.emplace_back(layer, expert);
    }
  }
  size_t first = 0;
  for (rt::MoeLayer &layer : layers) {
    layer.records = {records.data() + first, layer.experts};
    first += layer.experts;
  }
  crcs.assign(records.size() * crcStride, 0);
  opened.moe_layers = {layers.data(), layers.size()};
  opened.chunk_crcs = {crcs.data(), crcs.size()};
  return absl::OkStatus();
}

void LiveBundle::setVariants(const Assignment &variants) {
  for (size_t key = 0; key < records.size(); ++key) {
    auto [layer, expert] = places[key];
    records[key].variant = variants[layer][expert];
  }
}

absl::Status LiveBundle::failure() const {
  std::lock_guard<std::mutex> lock(mutex);
  return lastFailure;
}

rt::Status LiveBundle::Read(uint64_t offset, void *out, size_t size) {
  absl::Status status = read(offset, static_cast<uint8_t *>(out), size);
  if (status.ok()) {
    return rt::OkStatus();
  }
  std::lock_guard<std::mutex> lock(mutex);
  lastFailure = status;
  return rt::Error(rt::StatusCode::kIo, "weights could not be packed");
}

absl::Status LiveBundle::read(uint64_t offset, uint8_t *out, size_t size) {
  if (offset >= bytes && !records.empty()) {
    return readRecords(offset - bytes, out, size);
  }
  std::memset(out, 0, size);
  for (const auto &[begin, piece] : pieces) {
    uint64_t from = std::max(offset, begin), to = std::min(offset + size, begin + piece.size());
    if (from < to) {
      std::memcpy(out + (from - offset), piece.data() + (from - begin), to - from);
    }
  }
  uint64_t from = std::max(offset, opened.resident.offset);
  uint64_t to = std::min(offset + size, opened.resident.offset + opened.resident.length);
  return from < to ? readTensors(from - opened.resident.offset, out + (from - offset), to - from) : absl::OkStatus();
}

absl::Status LiveBundle::readTensors(uint64_t offset, uint8_t *out, size_t size) {
  std::vector<uint8_t> whole;
  for (size_t i = 0; i < opened.tensors.size; ++i) {
    const rt::Tensor &tensor = opened.tensors[i];
    uint64_t from = std::max(offset, tensor.offset), to = std::min(offset + size, tensor.offset + tensor.bytes);
    if (from >= to) {
      continue;
    }
    bool all = from == tensor.offset && to == tensor.offset + tensor.bytes;
    whole.resize(all ? 0 : tensor.bytes);
    if (absl::Status status = contents.tensor(i, all ? out + (from - offset) : whole.data()); !status.ok()) {
      return status;
    }
    if (!all) {
      std::memcpy(out + (from - offset), whole.data() + (from - tensor.offset), to - from);
    }
  }
  return absl::OkStatus();
}

absl::Status LiveBundle::readRecords(uint64_t offset, uint8_t *out, size_t size) {
  size_t key = offset / recordStride;
  if (key >= records.size()) {
    return absl::InternalError("a read behind the last expert's record");
  }
  const rt::Record &record = records[key];
  uint32_t recordBytes = layers[places[key].first].variants[record.variant].record_bytes;
  uint64_t inside = offset - key * recordStride;
  if (inside == 0 && size == recordBytes) {
    return packRecord(key, out);
  }
  if (inside + size > recordBytes) {
    return absl::InternalError("a read that leaves an expert's record");
  }
  std::vector<uint8_t> whole(recordBytes);
  absl::Status status = packRecord(key, whole.data());
  std::memcpy(out, whole.data() + inside, size);
  return status;
}

absl::Status LiveBundle::packRecord(size_t key, uint8_t *out) {
  auto [layer, expert] = places[key];
  const rt::Record &record = records[key];
  if (absl::Status status = pack(layer, expert, record.variant, out); !status.ok()) {
    return status;
  }
  uint32_t begin = 0;
  uint32_t *crc = &crcs[record.first_crc];
  for (uint32_t end : layers[layer].variants[record.variant].chunk_ends) {
    *crc++ = rt::Crc32c(out + begin, end - begin);
    begin = end;
  }
  return absl::OkStatus();
}

} // namespace emoe
