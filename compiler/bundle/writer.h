// Writes a bundle file: whole or not at all, without ever holding more than one expert record for each thread in memory.
#ifndef EMOE_COMPILER_BUNDLE_WRITER_H_
#define EMOE_COMPILER_BUNDLE_WRITER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schema/bundle_generated.h"

namespace emoe {

// Everything in a bundle but the bytes of records and tensors, which callbacks deliver one at a time.
struct BundleContents {
  fb::BundleT index;  // offsets, record offsets, chunk checksums and image offsets are filled in by the writer
  std::vector<std::vector<uint8_t>> images;  // ELF bytes, parallel to index.images
  std::vector<uint8_t> tokenizer, tables;    // empty: no such section

  // Fills `out` (tensors[i].bytes long) with tensor i.
  std::function<absl::Status(size_t tensor, uint8_t *out)> tensor;
  // Fills `out` (record_bytes of its variant long) with the record of an expert; called from `threads` threads at once.
  std::function<absl::Status(size_t layer, size_t expert, uint8_t *out)> record;
  unsigned threads = 1;
  // Called with the share of bytes done, 0 to 1; may be null.
  std::function<void(double done)> progress;
};

// Writes to `path`.tmp.PID, preallocated (a full disk shows first), syncs, renames, syncs the folder. On any error,
// or signal, nothing is left under `path` that was not there before, and the temporary file is removed. What the
// runtime would refuse to open is an InternalError that says why. ResourceExhausted: no space.
absl::Status writeBundle(BundleContents &contents, const std::string &path);

// The same bytes in memory, for tests and calibration. A bundle without index.model holds the tokenizer alone.
absl::StatusOr<std::vector<uint8_t>> writeBundleToMemory(BundleContents &contents);

// Lays `contents` out as writeBundle does and returns the size that the bundle would have. `piece` is told all bytes but
// zeros, those of the resident section (whose checksum is right) and those of the experts section; chunk checksums are
// zeros. For a provider that packs weights when they are read.
absl::StatusOr<uint64_t>
layOutBundle(BundleContents &contents, const std::function<void(uint64_t offset, const uint8_t *bytes, size_t size)> &piece);

} // namespace emoe

#endif // EMOE_COMPILER_BUNDLE_WRITER_H_
