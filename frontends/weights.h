// Access to weight values that stay in the model's files. The IR names values (#emoe.source); this store maps the
// files and decodes elements on demand, so that memory holds what is being worked on and never the model.
#ifndef EMOE_FRONTENDS_WEIGHTS_H_
#define EMOE_FRONTENDS_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dialects/emoe/attrs.h"
#include "frontends/files.h"

namespace emoe {

// Bits that an element of `type` takes in a file: 8 for i1, 4 for i4 and f4E2M1, ...; 0 if it cannot be stored.
unsigned storageBits(mlir::Type type);

// Bytes of `elements` packed elements of `type`; nothing if the type has no storage or the product overflows.
std::optional<uint64_t> storageBytes(mlir::Type type, uint64_t elements);

// A matrix [rows, columns] that its file holds as codes with scales: (code - zero) * scale. Code (r, c) is element
// r * codeRow + c of `codes`; its scale and zero point have index (r / rowBlock) * row + c / columnBlock with row =
// scaleRow and zeroRow. Sources are whole runs of elements: their strides are not looked at.
struct QuantisedMatrix {
  SourceAttr codes, scales, zeros;  // zeros may be null: then `zero` everywhere
  int64_t rows = 0, columns = 0;
  int64_t codeRow = 0, scaleRow = 0, zeroRow = 0;
  int64_t rowBlock = 1, columnBlock = 1;
  float zero = 0;
};

// Thread-compatible; reads are thread-safe once every file has been added.
class WeightStore {
public:
  // The name of one float32 that is 1, which every store has: with strides of 0 it is a tensor of ones.
  static constexpr const char *kOne = "<decoded:one>";

  WeightStore();
  ~WeightStore();
  WeightStore(const WeightStore &) = delete;
  WeightStore &operator=(const WeightStore &) = delete;

  // Maps the file at `path` (already resolved and checked by the frontend) under the name that #emoe.source uses.
  absl::Status addFile(std::string_view name, const std::string &path);

  // The same for a file that is mapped already. AlreadyExists if the name is taken.
  absl::Status addFile(std::string_view name, MappedFile file);

  // Keeps `bytes` in memory under `name` ("<decoded:...>"): values that no file holds as plain bytes.
  void addDecoded(std::string_view name, std::vector<uint8_t> bytes);

  // Gives a quantised matrix a name of its own ("<quantised:...>"), under which it is read as float32, row-major, with
  // offsets and strides like any other; nothing is decoded before it is read. Sources must be in the store. OutOfRange if
  // they have too few elements.
  absl::Status addQuantised(std::string_view name, const QuantisedMatrix &matrix);

  // What `name` stands for, if it is a quantised matrix.
  const QuantisedMatrix *quantised(std::string_view name) const;

  // Codes less their zero points, and one scale for each `group` columns, of rows [first, first + count) of a
  // [rows, columns] view of a quantised matrix: value = code * scale. False if the view is of none or does not run along
  // its rows, if a group of columns has two scales, or if a code is no integer below 32768.
  bool readQuantised(SourceAttr source, int64_t columns, int64_t first, int64_t count, int64_t group, int16_t *codes,
                     float *scales) const;

  // Takes over everything that `other` holds, NAME as PREFIXNAME. AlreadyExists if a name is taken.
  absl::Status absorb(WeightStore &other, std::string_view prefix);

  // Size in bytes of what `name` stands for; NotFound if it was never added.
  absl::StatusOr<uint64_t> size(std::string_view name) const;

  // The mapped or decoded bytes of `name`.
  absl::StatusOr<absl::Span<const uint8_t>> bytes(std::string_view name) const;

  // OutOfRange, naming the file, if any element of [rows, columns] lies outside the file.
  absl::Status check(SourceAttr source, int64_t rows, int64_t columns) const;

  // Decodes rows [first, first + count) of a [rows, columns] view into out[count * columns], row-major, float32.
  // f16, bf16, f32, f64, integer and 4-bit types are exact in float32 (f64 and wide integers are rounded).
  absl::Status read(SourceAttr source, int64_t columns, int64_t first, int64_t count, float *out) const;

  // Decodes a whole tensor of the given shape (one stride for each extent) into out, row-major, float32.
  absl::Status readTensor(SourceAttr source, absl::Span<const int64_t> shape, float *out) const;

  // Tells the kernel that the pages behind the view are not needed any more, so that resident memory stays small.
  void release(SourceAttr source, int64_t rows, int64_t columns) const;

  // 128-bit hash, in hex, of the values of a [rows, columns] view as float32: equal for equal values whatever the
  // storage type, strides and file.
  absl::StatusOr<std::string> contentHash(SourceAttr source, int64_t rows, int64_t columns) const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace emoe

#endif // EMOE_FRONTENDS_WEIGHTS_H_
