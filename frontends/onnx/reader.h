// Reads an ONNX file into plain structs. Knows the format and its limits, nothing of IR.
#ifndef EMOE_FRONTENDS_ONNX_READER_H_
#define EMOE_FRONTENDS_ONNX_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "frontends/onnx/model.h"

namespace emoe::onnx {

// What a file may ask of us; beyond it is InvalidArgument.
inline constexpr size_t kMaxNameBytes = 64 << 10;
inline constexpr size_t kMaxRank = 64;
inline constexpr size_t kMaxSubgraphDepth = 16;
inline constexpr size_t kMaxNodes = 2 << 20;     // of all graphs and functions together
inline constexpr size_t kMaxTensors = 1 << 20;
inline constexpr size_t kMaxValues = 8 << 20;    // value infos and their dimensions

// Versions that we read.
inline constexpr int64_t kMinIrVersion = 3, kMaxIrVersion = 13;
inline constexpr int64_t kMinOpset = 13, kMaxOpset = 27;

// `file` holds the whole file and stays alive as long as extents of the result are used; `path` is for messages.
// InvalidArgument: damaged, or beyond a limit, with the byte offset. Unimplemented: a version or a feature (sparse
// initialisers) that we lack.
absl::StatusOr<Model> readModel(absl::Span<const uint8_t> file, const std::string &path);

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_READER_H_
