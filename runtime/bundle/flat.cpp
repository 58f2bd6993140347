#include "runtime/bundle/flat.h"

#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bundles are read in place: little-endian only");

namespace emoe::rt {

FlatReader::FlatReader(const uint8_t *bytes, size_t size, uint32_t table_limit)
    : bytes_(bytes), size_(size), tables_left_(table_limit) {
  // Offsets are 32-bit and the library takes the upper half for negative.
  if (size_ > INT32_MAX) Fail("index: larger than 2 GiB (bytes)", size_);
}

Status FlatReader::status() const {
  return ok() ? OkStatus() : Error(StatusCode::kBadBundle, problem_, problem_at_);
}

bool FlatReader::Fail(const char *problem, uint64_t at) {
  if (ok()) {
    problem_ = problem;
    problem_at_ = at;
  }
  return false;
}

// The library wants `bytes` to be less than the buffer's size, not only at most.
bool FlatReader::Inside(uint64_t at, uint64_t bytes, uint64_t align, const char *problem) {
  if (!ok()) return false;
  return (at % align == 0 && bytes < size_ && at <= size_ - bytes) || Fail(problem, at);
}

uint64_t FlatReader::Follow(uint64_t at) {
  constexpr const char *kProblem = "index: an offset leads outside it (offset in the index)";
  if (!Inside(at, sizeof(uint32_t), sizeof(uint32_t), kProblem)) return 0;
  uint32_t offset = Load<uint32_t>(at);
  if (offset == 0 || offset > INT32_MAX || !Inside(at + offset, 1, 1, kProblem)) {
    Fail(kProblem, at);
    return 0;
  }
  return at + offset;
}

FlatTable FlatReader::TableAt(uint64_t at) {
  constexpr const char *kProblem = "index: a table is malformed (offset in the index)";
  if (!Inside(at, sizeof(int32_t), sizeof(int32_t), kProblem)) return {};
  if (tables_left_ == 0) {
    Fail("index: too many tables (offset in the index)", at);
    return {};
  }
  --tables_left_;
  // The vtable lies `back` bytes before the table; negative: after it.
  int64_t vtable = static_cast<int64_t>(at) - Load<int32_t>(at);
  if (vtable < 0) {
    Fail(kProblem, at);
    return {};
  }
  FlatTable table;
  if (!Inside(static_cast<uint64_t>(vtable), 2 * sizeof(uint16_t), sizeof(uint16_t), kProblem)) return {};
  table.at = static_cast<uint32_t>(at);
  table.vtable = static_cast<uint32_t>(vtable);
  table.vtable_bytes = Load<uint16_t>(table.vtable);
  table.table_bytes = Load<uint16_t>(table.vtable + sizeof(uint16_t));
  if (table.vtable_bytes < 4 || table.vtable_bytes % 2 != 0 || table.table_bytes < 4) {
    Fail(kProblem, at);
    return {};
  }
  if (!Inside(table.vtable, table.vtable_bytes, 2, kProblem) || !Inside(at, table.table_bytes, 4, kProblem)) {
    return {};
  }
  return table;
}

FlatTable FlatReader::Root(const char *identifier) {
  if (!Inside(0, 2 * sizeof(uint32_t), 4, "index: too short (bytes)")) return {};
  if (memcmp(bytes_ + sizeof(uint32_t), identifier, 4) != 0) {
    Fail("index: its identifier is not EMOI (offset in the index)", 4);
    return {};
  }
  uint64_t root = Follow(0);
  return ok() ? TableAt(root) : FlatTable();
}

const uint8_t *FlatReader::Field(const FlatTable &table, uint16_t id, uint32_t bytes, uint32_t align) {
  uint32_t entry = 4 + 2 * static_cast<uint32_t>(id);
  if (!ok() || entry + 2 > table.vtable_bytes) return nullptr;
  uint32_t offset = Load<uint16_t>(table.vtable + entry);
  if (offset == 0) return nullptr;
  if (offset < 4 || offset + bytes > table.table_bytes || (table.at + offset) % align != 0) {
    Fail("index: a field leaves its table or is not aligned (offset in the index)", table.at + offset);
    return nullptr;
  }
  return bytes_ + table.at + offset;
}

const uint8_t *FlatReader::Elements(const FlatTable &table, uint16_t id, uint32_t bytes, uint32_t align,
                                    uint32_t limit, uint32_t *size) {
  constexpr const char *kProblem = "index: a list leaves it or is not aligned (offset in the index)";
  *size = 0;
  const uint8_t *field = Field(table, id, sizeof(uint32_t), sizeof(uint32_t));
  if (field == nullptr) return nullptr;
  uint64_t at = Follow(static_cast<uint64_t>(field - bytes_));
  if (!ok() || !Inside(at, sizeof(uint32_t), sizeof(uint32_t), kProblem)) return nullptr;
  uint32_t count = Load<uint32_t>(at);
  if (count > limit) {
    Fail("index: a list is longer than the format allows (offset in the index)", at);
    return nullptr;
  }
  uint64_t first = at + sizeof(uint32_t);
  // A list's own alignment matters only where there is an element to read.
  if (!Inside(at, sizeof(uint32_t) + static_cast<uint64_t>(count) * bytes, sizeof(uint32_t), kProblem) ||
      (count > 0 && first % align != 0 && !Fail(kProblem, at))) {
    return nullptr;
  }
  *size = count;
  return count > 0 ? bytes_ + first : nullptr;
}

Text FlatReader::String(const FlatTable &table, uint16_t id, uint32_t limit) {
  uint32_t size = 0;
  const uint8_t *field = Field(table, id, sizeof(uint32_t), sizeof(uint32_t));
  if (field == nullptr) return {};
  const uint8_t *data = Elements(table, id, 1, 1, limit, &size);
  if (!ok()) return {};
  uint64_t at = Follow(static_cast<uint64_t>(field - bytes_));
  uint64_t end = at + sizeof(uint32_t) + size;
  constexpr const char *kProblem = "index: a text is not terminated (offset in the index)";
  if (!Inside(end, 1, 1, kProblem)) return {};
  if (bytes_[end] != 0) {
    Fail(kProblem, at);
    return {};
  }
  return {reinterpret_cast<const char *>(data), size};
}

bool FlatReader::HasTable(const FlatTable &table, uint16_t id) {
  return Field(table, id, sizeof(uint32_t), sizeof(uint32_t)) != nullptr;
}

FlatTable FlatReader::Table(const FlatTable &table, uint16_t id) {
  const uint8_t *field = Field(table, id, sizeof(uint32_t), sizeof(uint32_t));
  if (field == nullptr) return {};
  uint64_t at = Follow(static_cast<uint64_t>(field - bytes_));
  return ok() ? TableAt(at) : FlatTable();
}

FlatTables FlatReader::Tables(const FlatTable &table, uint16_t id, uint32_t limit) {
  FlatTables tables;
  const uint8_t *data = Elements(table, id, sizeof(uint32_t), sizeof(uint32_t), limit, &tables.size);
  if (tables.size > 0) tables.at = static_cast<uint32_t>(data - bytes_);
  return tables;
}

FlatTable FlatReader::Element(const FlatTables &tables, uint32_t i) {
  if (!ok() || i >= tables.size) return {};
  uint64_t at = Follow(tables.at + 4 * static_cast<uint64_t>(i));
  return ok() ? TableAt(at) : FlatTable();
}

}  // namespace emoe::rt
