#include "frontends/onnx/wire.h"

namespace emoe::onnx {

FieldWalker::FieldWalker(absl::Span<const uint8_t> file, Extent message)
    : stream_(file.data() + message.offset, static_cast<int>(message.size)), start_(message.offset),
      size_(static_cast<int>(message.size)) {}

bool FieldWalker::next(Field &field) {
  if (damaged_ || stream_.CurrentPosition() == size_) {
    return false;
  }
  const uint32_t tag = stream_.ReadTag();
  field.number = static_cast<int>(tag >> 3);
  if (tag == 0 || field.number == 0) {
    return fail();
  }
  field.kind = static_cast<Field::Kind>(tag & 7);
  field.bytes.offset = position();
  uint32_t narrow = 0;
  switch (field.kind) {
  case Field::Varint:
    if (!stream_.ReadVarint64(&field.value)) {
      return fail();
    }
    break;
  case Field::Fixed64:
    if (!stream_.ReadLittleEndian64(&field.value)) {
      return fail();
    }
    break;
  case Field::Fixed32:
    if (!stream_.ReadLittleEndian32(&narrow)) {
      return fail();
    }
    field.value = narrow;
    break;
  case Field::Bytes: {
    uint64_t length = 0;
    if (!stream_.ReadVarint64(&length) || length > static_cast<uint64_t>(size_ - stream_.CurrentPosition())) {
      return fail();
    }
    field.bytes = {position(), length};
    return stream_.Skip(static_cast<int>(length)) || fail();
  }
  default: // groups: ONNX has none
    return fail();
  }
  field.bytes.size = position() - field.bytes.offset;
  return true;
}

NumberWalker::NumberWalker(absl::Span<const uint8_t> file, const Field &field, Field::Kind kind)
    : stream_(file.data() + field.bytes.offset, static_cast<int>(field.bytes.size)), kind_(kind),
      size_(static_cast<int>(field.bytes.size)) {
  if (field.kind == kind) {
    single_ = field.value;
    size_ = 0;
  } else if (field.kind != Field::Bytes) {
    damaged_ = true;
  }
}

bool NumberWalker::next(uint64_t &value) {
  if (single_) {
    value = *single_;
    single_.reset();
    return true;
  }
  if (damaged_ || stream_.CurrentPosition() >= size_) {
    return false;
  }
  bool read = false;
  if (kind_ == Field::Varint) {
    read = stream_.ReadVarint64(&value);
  } else if (kind_ == Field::Fixed64) {
    read = stream_.ReadLittleEndian64(&value);
  } else {
    uint32_t narrow = 0;
    read = stream_.ReadLittleEndian32(&narrow);
    value = narrow;
  }
  damaged_ = !read;
  return read;
}

} // namespace emoe::onnx
