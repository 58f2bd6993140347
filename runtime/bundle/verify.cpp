// Checksums of what open does not read: whole sections, expert records.
#include <stdlib.h>
#include <string.h>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/check.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/bundle/sections.h"
#include "schema/format.h"

namespace emoe::rt {
namespace {

Status Damaged(const Section &section, uint32_t crc) {
  const char *what = "section: damaged (CRC-32C there, expected)";
  switch (section.type) {
    case EMOE_SECTION_INDEX: what = "index section: damaged (CRC-32C there, expected)"; break;
    case EMOE_SECTION_RESIDENT: what = "resident section: damaged (CRC-32C there, expected)"; break;
    case EMOE_SECTION_KERNELS: what = "kernels section: damaged (CRC-32C there, expected)"; break;
    case EMOE_SECTION_TOKENIZER: what = "tokenizer section: damaged (CRC-32C there, expected)"; break;
    case EMOE_SECTION_TABLES: what = "tables section: damaged (CRC-32C there, expected)"; break;
    default: break;
  }
  return Error(StatusCode::kBadBundle, what, crc, section.crc);
}

bool Same(const Section &a, const Section &b) {
  return a.present == b.present && a.offset == b.offset && a.length == b.length && a.crc == b.crc;
}

class Verifier {
 public:
  Verifier(Provider &provider, const Bundle &bundle, char *block, void (*progress)(uint64_t, void *), void *user)
      : provider_(provider), bundle_(bundle), block_(block), progress_(progress), user_(user) {}

  Status Run() {
    Bundle now;
    RT_RETURN_IF_ERROR(ReadSections(provider_, &now));
    constexpr Section Bundle::*kChecked[] = {&Bundle::index, &Bundle::resident, &Bundle::kernels, &Bundle::tokenizer,
                                             &Bundle::tables};
    bool same = Same(now.experts, bundle_.experts);
    for (auto section : kChecked) same = same && Same(now.*section, bundle_.*section);
    if (!same) return Error(StatusCode::kBadBundle, "header: changed since the bundle was opened");
    Report(EMOE_SECTION_ALIGN);
    for (auto section : kChecked) RT_RETURN_IF_ERROR(VerifySection(bundle_.*section));
    RT_RETURN_IF_ERROR(VerifyPanels());
    return VerifyRecords();
  }

 private:
  void Report(uint64_t bytes) {
    done_ += bytes;
    if (progress_ != nullptr) progress_(done_, user_);
  }

  Status VerifySection(const Section &section) {
    if (!section.present) return OkStatus();
    uint32_t crc = 0;
    constexpr uint64_t kBlock = EMOE_CHUNK_BYTES;
    for (uint64_t at = 0; at < section.length;) {
      const uint64_t bytes = section.length - at < kBlock ? section.length - at : kBlock;
      RT_RETURN_IF_ERROR(provider_.Read(section.offset + at, block_, bytes));
      crc = Crc32c(block_, bytes, crc);
      at += bytes;
      Report(bytes);
    }
    Report((EMOE_SECTION_ALIGN - section.length % EMOE_SECTION_ALIGN) % EMOE_SECTION_ALIGN);
    return crc == section.crc ? OkStatus() : Damaged(section, crc);
  }

  // The resident section is right as a whole; so must be what is read of it piece by piece.
  Status VerifyPanels() {
    if (bundle_.panel_crcs.size == 0) return OkStatus();
    uint64_t number = 0;
    RT_RETURN_IF_ERROR(VerifyPanel(0, BytesBeforePaged(bundle_), number++));
    for (const Tensor &tensor : bundle_.tensors) {
      uint64_t bytes = 0;
      if (!tensor.paged || !PanelBytes(tensor.layout, tensor.columns, &bytes)) continue;
      for (uint64_t at = 0; at + bytes <= tensor.bytes; at += bytes) {
        RT_RETURN_IF_ERROR(VerifyPanel(tensor.offset + at, bytes, number++));
      }
    }
    return OkStatus();
  }

  Status VerifyPanel(uint64_t offset, uint64_t bytes, uint64_t number) {
    constexpr uint64_t kBlock = EMOE_CHUNK_BYTES;
    uint32_t crc = 0;
    for (uint64_t at = 0; at < bytes;) {
      const uint64_t size = bytes - at < kBlock ? bytes - at : kBlock;
      RT_RETURN_IF_ERROR(provider_.Read(bundle_.resident.offset + offset + at, block_, size));
      crc = Crc32c(block_, size, crc);
      at += size;
    }
    if (crc == bundle_.panel_crcs[number]) return OkStatus();
    return Error(StatusCode::kBadBundle, "resident section: not what panel_crcs say (checksum's number, CRC-32C there)",
                 number, crc);
  }

  Status VerifyRecords() {
    for (uint64_t l = 0; l < bundle_.moe_layers.size; ++l) {
      const MoeLayer &layer = bundle_.moe_layers[l];
      for (uint64_t e = 0; e < layer.records.size; ++e) {
        const Record &record = layer.records[e];
        const Variant &variant = layer.variants[record.variant];
        uint32_t start = 0;
        for (size_t c = 0; c < variant.chunk_ends.size; ++c) {
          const uint32_t bytes = variant.chunk_ends[c] - start;
          RT_RETURN_IF_ERROR(provider_.Read(bundle_.experts.offset + record.offset + start, block_, bytes));
          if (Crc32c(block_, bytes) != bundle_.chunk_crcs[record.first_crc + c]) {
            return Error(StatusCode::kBadBundle, "experts section: a record is damaged (mixture layer, expert)", l, e);
          }
          start += bytes;
          Report(bytes);
        }
      }
    }
    return OkStatus();
  }

  Provider &provider_;
  const Bundle &bundle_;
  char *block_;  // EMOE_CHUNK_BYTES
  void (*progress_)(uint64_t, void *);
  void *user_;
  uint64_t done_ = 0;
};

}  // namespace

Status ReadSection(Provider &provider, const Section &section, void *out) {
  constexpr uint64_t kBlock = 1 << 20;  // checked while it is in the cache
  uint32_t crc = 0;
  for (uint64_t at = 0; at < section.length;) {
    uint64_t bytes = section.length - at < kBlock ? section.length - at : kBlock;
    RT_RETURN_IF_ERROR(provider.Read(section.offset + at, static_cast<char *>(out) + at, bytes));
    crc = Crc32c(static_cast<char *>(out) + at, bytes, crc);
    at += bytes;
  }
  return crc == section.crc ? OkStatus() : Damaged(section, crc);
}

Status VerifyBundle(Provider &provider, const Bundle &bundle, void (*progress)(uint64_t, void *), void *user) {
  char *block = static_cast<char *>(malloc(EMOE_CHUNK_BYTES));
  if (block == nullptr) return Error(StatusCode::kBudget, "no memory to verify with (bytes)", EMOE_CHUNK_BYTES);
  Status status = Verifier(provider, bundle, block, progress, user).Run();
  free(block);
  return status;
}

}  // namespace emoe::rt
