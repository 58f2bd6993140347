// Protobuf's wire format, field by field, over a mapped file. Large fields are extents, never copies.
#ifndef EMOE_FRONTENDS_ONNX_WIRE_H_
#define EMOE_FRONTENDS_ONNX_WIRE_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "frontends/onnx/model.h"
#include "google/protobuf/io/coded_stream.h"

namespace emoe::onnx {

struct Field {
  enum Kind { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };
  int number = 0;
  Kind kind = Varint;
  uint64_t value = 0; // of a Varint, Fixed64 or Fixed32
  Extent bytes;       // of Bytes; of the value otherwise
};

// Walks the fields of one message. Nothing recurses: a nested message is an extent, walked by a walker of its own.
class FieldWalker {
public:
  // `message` must lie inside `file`, and `file` be smaller than 2 GiB.
  FieldWalker(absl::Span<const uint8_t> file, Extent message);

  // The next field, or false at the end of the message and on damage; `damaged` tells which.
  bool next(Field &field);
  bool damaged() const { return damaged_; }
  // Where the walk is, as an offset in the file.
  uint64_t position() const { return start_ + static_cast<uint64_t>(stream_.CurrentPosition()); }

private:
  bool fail() {
    damaged_ = true;
    return false;
  }

  google::protobuf::io::CodedInputStream stream_;
  uint64_t start_;
  int size_;
  bool damaged_ = false;
};

// Walks numbers of a repeated field, which stand packed in one Bytes field or singly: call it for each occurrence.
// `kind` is how a number is written: Varint, Fixed32 or Fixed64.
class NumberWalker {
public:
  NumberWalker(absl::Span<const uint8_t> file, const Field &field, Field::Kind kind);
  bool next(uint64_t &value);
  bool damaged() const { return damaged_; }

private:
  google::protobuf::io::CodedInputStream stream_;
  Field::Kind kind_;
  std::optional<uint64_t> single_;
  int size_ = 0;
  bool damaged_ = false;
};

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_WIRE_H_
