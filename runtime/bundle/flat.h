// Reads FlatBuffers that nobody has verified: every access is checked against the buffer, so that a hostile index can
// yield wrong values but no access outside it. Stricter than the library's Verifier: whatever is read here without a
// failure, that accepts, and both see the same values.
//
// A failure sticks: all later reads give empty values, and the caller asks ok() once per table.
#ifndef EMOE_RUNTIME_BUNDLE_FLAT_H_
#define EMOE_RUNTIME_BUNDLE_FLAT_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// A table whose header and vtable are inside the buffer. Default: a table without fields.
struct FlatTable {
  uint32_t at = 0;            // of the table in the buffer
  uint32_t vtable = 0;
  uint16_t vtable_bytes = 0;  // >= 4, or 0 in an absent table
  uint16_t table_bytes = 0;   // all fields lie in [at + 4, at + table_bytes)
};

// A vector of tables whose offsets are inside the buffer.
struct FlatTables {
  uint32_t at = 0;  // of the first offset
  uint32_t size = 0;
};

class FlatReader {
 public:
  // `bytes` must be 8-byte aligned and stay alive as long as the spans. At most `table_limit` tables are read.
  FlatReader(const uint8_t *bytes, size_t size, uint32_t table_limit);

  bool ok() const { return problem_ == nullptr; }
  // What was wrong first, a static text whose detail is the offset in the buffer.
  Status status() const;

  FlatTable Root(const char *identifier);

  // Fields by their id. An absent field gives `otherwise`, an absent vector, string or table is empty.
  template <typename T>
  T Scalar(const FlatTable &table, uint16_t id, T otherwise) {
    const void *field = Field(table, id, sizeof(T), sizeof(T));
    if (field == nullptr) return otherwise;
    T value;
    __builtin_memcpy(&value, field, sizeof(T));
    return value;
  }
  // False if the field is absent.
  template <typename T>
  bool Struct(const FlatTable &table, uint16_t id, T *out) {
    const void *field = Field(table, id, sizeof(T), alignof(T));
    if (field == nullptr) return false;
    __builtin_memcpy(out, field, sizeof(T));
    return true;
  }
  // Scalars or structs, at most `limit`.
  template <typename T>
  Span<T> Vector(const FlatTable &table, uint16_t id, uint32_t limit) {
    uint32_t size = 0;
    const uint8_t *data = Elements(table, id, sizeof(T), alignof(T), limit, &size);
    return {reinterpret_cast<const T *>(data), size};
  }
  Text String(const FlatTable &table, uint16_t id, uint32_t limit);
  bool HasTable(const FlatTable &table, uint16_t id);
  FlatTable Table(const FlatTable &table, uint16_t id);
  FlatTables Tables(const FlatTable &table, uint16_t id, uint32_t limit);
  FlatTable Element(const FlatTables &tables, uint32_t i);

 private:
  template <typename T>
  T Load(uint64_t at) const {
    T value;
    __builtin_memcpy(&value, bytes_ + at, sizeof(T));
    return value;
  }
  bool Fail(const char *problem, uint64_t at);
  bool Inside(uint64_t at, uint64_t bytes, uint64_t align, const char *problem);
  const uint8_t *Field(const FlatTable &table, uint16_t id, uint32_t bytes, uint32_t align);
  // Follows the offset that lies at `at`; 0 after a failure.
  uint64_t Follow(uint64_t at);
  FlatTable TableAt(uint64_t at);
  const uint8_t *Elements(const FlatTable &table, uint16_t id, uint32_t bytes, uint32_t align, uint32_t limit,
                          uint32_t *size);

  const uint8_t *bytes_;
  uint64_t size_;
  uint32_t tables_left_;
  const char *problem_ = nullptr;
  uint64_t problem_at_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_FLAT_H_
