#include "frontends/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "dialects/onnx/onnx.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"

namespace emoe {
namespace {

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

uint32_t toBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// IEEE binary16 -> binary32; exact. Denormals are scaled by 2^-24, infinities and NaN keep their mantissa. Without branches,
// which keep compilers from vectorising it.
float fromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7fff;
  const uint32_t isDenormal = 0 - ((magnitude - 0x400) >> 31), isInfinite = 0 - ((0x7bff - magnitude) >> 31);
  const uint32_t denormal = toBits(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t normal = (magnitude << 13) + (112u << 23) + (isInfinite & 112u << 23);
  return fromBits(sign | (denormal & isDenormal) | (normal & ~isDenormal));
}

template <typename T> T load(const uint8_t *at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

// Decoders of one element: byte-wide types from the element's first byte, narrower ones from their bits.
struct F32 { static constexpr unsigned bits = 32; static float decode(const uint8_t *p) { return load<float>(p); } };
struct F64 { static constexpr unsigned bits = 64; static float decode(const uint8_t *p) { return static_cast<float>(load<double>(p)); } };
struct F16 { static constexpr unsigned bits = 16; static float decode(const uint8_t *p) { return fromHalf(load<uint16_t>(p)); } };
struct BF16 { static constexpr unsigned bits = 16; static float decode(const uint8_t *p) { return fromBits(static_cast<uint32_t>(load<uint16_t>(p)) << 16); } };
template <typename T> struct Integer { static constexpr unsigned bits = 8 * sizeof(T); static float decode(const uint8_t *p) { return static_cast<float>(load<T>(p)); } };
struct Bool { static constexpr unsigned bits = 8; static float decode(const uint8_t *p) { return *p ? 1.0f : 0.0f; } };

using Table = std::array<float, 256>;

// Values of every code of a small float type, by LLVM's own arithmetic.
Table tableOf(const llvm::fltSemantics &semantics) {
  Table table;
  for (unsigned code = 0; code < 256; ++code) {
    llvm::APFloat value(semantics, llvm::APInt(8, code));
    bool losesInfo = false;
    value.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven, &losesInfo);
    table[code] = value.convertToFloat();
  }
  return table;
}

const Table &e4m3fn() { static const Table table = tableOf(llvm::APFloat::Float8E4M3FN()); return table; }
const Table &e4m3fnuz() { static const Table table = tableOf(llvm::APFloat::Float8E4M3FNUZ()); return table; }
const Table &e5m2() { static const Table table = tableOf(llvm::APFloat::Float8E5M2()); return table; }
const Table &e5m2fnuz() { static const Table table = tableOf(llvm::APFloat::Float8E5M2FNUZ()); return table; }
const Table &e8m0() {
  static const Table table = [] {
    Table values;
    for (uint32_t code = 0; code < 255; ++code) {
      values[code] = fromBits(code == 0 ? 0x00400000 : code << 23); // 2^-127 is a denormal of binary32
    }
    values[255] = fromBits(0x7fc00000);
    return values;
  }();
  return table;
}
template <const Table &(*table)()> struct Looked {
  static constexpr unsigned bits = 8;
  static float decode(const uint8_t *p) { return table()[*p]; }
};

float e2m1(unsigned code) {
  static constexpr float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return code & 8 ? -magnitudes[code & 7] : magnitudes[code & 7];
}

struct Packing {
  unsigned bits;
  float (*value)(unsigned code);
};
float signed4(unsigned code) { return static_cast<float>(static_cast<int>(code ^ 8) - 8); }
float signed2(unsigned code) { return static_cast<float>(static_cast<int>(code ^ 2) - 2); }
float plain(unsigned code) { return static_cast<float>(code); }

// Copies count elements, `stride` elements apart, from element `first` of `base`.
using Run = void (*)(const uint8_t *base, int64_t first, int64_t stride, int64_t count, float *out);

template <typename Type> void runOf(const uint8_t *base, int64_t first, int64_t stride, int64_t count, float *out) {
  constexpr int64_t width = Type::bits / 8;
  const uint8_t *at = base + first * width;
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) {
      out[i] = Type::decode(at + i * width);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    out[i] = Type::decode(at + i * stride * width);
  }
}

template <unsigned bits, float (*value)(unsigned)>
void packedRunOf(const uint8_t *base, int64_t first, int64_t stride, int64_t count, float *out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bit = static_cast<uint64_t>(first + i * stride) * bits;
    out[i] = value((base[bit / 8] >> (bit % 8)) & ((1u << bits) - 1));
  }
}

struct Codec {
  unsigned bits = 0;
  Run run = nullptr;
};
template <typename Type> Codec codecOf() { return {Type::bits, runOf<Type>}; }

// How elements of an MLIR type lie in a file and what they mean; bits is 0 if no file can hold them.
Codec codecFor(mlir::Type type) {
  if (type.isF32()) {
    return codecOf<F32>();
  }
  if (type.isF16()) {
    return codecOf<F16>();
  }
  if (type.isBF16()) {
    return codecOf<BF16>();
  }
  if (type.isF64()) {
    return codecOf<F64>();
  }
  if (type.isFloat8E4M3FN()) {
    return codecOf<Looked<e4m3fn>>();
  }
  if (type.isFloat8E4M3FNUZ()) {
    return codecOf<Looked<e4m3fnuz>>();
  }
  if (type.isFloat8E5M2()) {
    return codecOf<Looked<e5m2>>();
  }
  if (type.isFloat8E5M2FNUZ()) {
    return codecOf<Looked<e5m2fnuz>>();
  }
  if (mlir::isa<onnx::Float8E8M0Type>(type)) {
    return codecOf<Looked<e8m0>>();
  }
  if (mlir::isa<onnx::Float4E2M1Type>(type)) {
    return {4, packedRunOf<4, e2m1>};
  }
  auto integer = mlir::dyn_cast<mlir::IntegerType>(type);
  if (!integer) {
    return {};
  }
  const bool isUnsigned = integer.isUnsigned();
  switch (integer.getWidth()) {
  case 1:
    return codecOf<Bool>();
  case 2:
    return {2, isUnsigned ? packedRunOf<2, plain> : packedRunOf<2, signed2>};
  case 4:
    return {4, isUnsigned ? packedRunOf<4, plain> : packedRunOf<4, signed4>};
  case 8:
    return isUnsigned ? codecOf<Integer<uint8_t>>() : codecOf<Integer<int8_t>>();
  case 16:
    return isUnsigned ? codecOf<Integer<uint16_t>>() : codecOf<Integer<int16_t>>();
  case 32:
    return isUnsigned ? codecOf<Integer<uint32_t>>() : codecOf<Integer<int32_t>>();
  case 64:
    return isUnsigned ? codecOf<Integer<uint64_t>>() : codecOf<Integer<int64_t>>();
  default:
    return {};
  }
}

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

// Bytes [begin, end) that a view touches; begin == end for a view without elements.
struct Touched {
  uint64_t begin = 0, end = 0;
};

std::string describe(SourceAttr source) {
  std::string text;
  llvm::raw_string_ostream(text) << source;
  return text;
}

} // namespace

unsigned storageBits(mlir::Type type) { return codecFor(type).bits; }

std::optional<uint64_t> storageBytes(mlir::Type type, uint64_t elements) {
  const unsigned bits = storageBits(type);
  uint64_t total;
  if (bits == 0 || __builtin_mul_overflow(elements, static_cast<uint64_t>(bits), &total) || total > UINT64_MAX - 7) {
    return std::nullopt;
  }
  return (total + 7) / 8;
}

struct WeightStore::Impl {
  struct Entry {
    MappedFile file;
    std::vector<uint8_t> decoded;
    bool isFile = false;
    std::optional<QuantisedMatrix> quantised;
    uint64_t size() const {
      return quantised ? static_cast<uint64_t>(quantised->rows) * quantised->columns * sizeof(float) : bytes().size();
    }
    absl::Span<const uint8_t> bytes() const {
      return isFile ? file.bytes() : absl::Span<const uint8_t>(decoded.data(), decoded.size());
    }
  };
  std::map<std::string, Entry, std::less<>> entries;

  const Entry *find(mlir::StringAttr name) const {
    auto found = entries.find(std::string_view(name.data(), name.size()));
    return found == entries.end() ? nullptr : &found->second;
  }

  // The elements of a source, one by one.
  struct Elements {
    const uint8_t *base;
    Run run;
    float at(int64_t index) const {
      float value;
      run(base, index, 1, 1, &value);
      return value;
    }
  };
  Elements elementsOf(SourceAttr source) const {
    return {find(source.getFile())->bytes().data() + source.getOffset(), codecFor(source.getElement()).run};
  }

  // Like Run, of a quantised matrix: `first` counts from its start.
  void quantisedRun(const QuantisedMatrix &m, int64_t first, int64_t stride, int64_t count, float *out) const {
    const Elements codes = elementsOf(m.codes), scales = elementsOf(m.scales);
    const Elements zeros = m.zeros ? elementsOf(m.zeros) : Elements{};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = first + i * stride, row = at / m.columns, column = at % m.columns;
      const int64_t block = row / m.rowBlock, group = column / m.columnBlock;
      const float zero = zeros.base ? zeros.at(block * m.zeroRow + group) : m.zero;
      out[i] = (codes.at(row * m.codeRow + column) - zero) * scales.at(block * m.scaleRow + group);
    }
  }

  // A run of the view's elements.
  void run(SourceAttr source, const Codec &codec, const uint8_t *base, int64_t first, int64_t stride, int64_t count,
           float *out) const {
    const Entry &entry = *find(source.getFile());
    if (entry.quantised) {
      quantisedRun(*entry.quantised, source.getOffset() / static_cast<int64_t>(sizeof(float)) + first, stride, count, out);
    } else {
      codec.run(base, first, stride, count, out);
    }
  }

  // Checks that a view of `shape` lies inside its file; fills what it touches, the codec and the file's bytes.
  absl::Status resolve(SourceAttr source, absl::Span<const int64_t> shape, Touched &touched, Codec &codec,
                       absl::Span<const uint8_t> &bytes) const {
    auto found = entries.find(std::string_view(source.getFile().data(), source.getFile().size()));
    if (found == entries.end()) {
      return absl::NotFoundError(absl::StrCat(describe(source), ": no file of that name was imported"));
    }
    bytes = found->second.bytes();
    codec = codecFor(source.getElement());
    if (codec.bits == 0) {
      return absl::UnimplementedError(absl::StrCat(describe(source), ": elements of this type cannot be read"));
    }
    if (source.getStrides().size() != shape.size() || source.getOffset() < 0) {
      return absl::InvalidArgumentError(absl::StrCat(describe(source), ": needs ", shape.size(), " strides"));
    }
    uint64_t last = 0; // index of the furthest element
    bool empty = false, overflow = false;
    for (size_t i = 0; i < shape.size(); ++i) {
      const int64_t extent = shape[i], stride = source.getStrides()[i];
      if (extent < 0 || stride < 0) {
        return absl::InvalidArgumentError(absl::StrCat(describe(source), ": negative extent or stride"));
      }
      empty |= extent == 0;
      uint64_t reach = 0;
      overflow |= extent > 0 && __builtin_mul_overflow(static_cast<uint64_t>(extent - 1),
                                                       static_cast<uint64_t>(stride), &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
    }
    const uint64_t offset = static_cast<uint64_t>(source.getOffset());
    touched = {offset, offset};
    if (empty) {
      return absl::OkStatus();
    }
    uint64_t bits = 0;
    overflow |= __builtin_add_overflow(last, uint64_t{1}, &last) ||
                __builtin_mul_overflow(last, static_cast<uint64_t>(codec.bits), &bits);
    const uint64_t size = found->second.size();
    if (overflow || offset > size || bits / 8 + (bits % 8 != 0) > size - offset) {
      return absl::OutOfRangeError(absl::StrCat(describe(source), ": reaches beyond the end of the file, which has ",
                                                size, " bytes"));
    }
    if (found->second.quantised && (!source.getElement().isF32() || offset % sizeof(float) != 0)) {
      return absl::InvalidArgumentError(absl::StrCat(describe(source), ": a quantised matrix is read as float32"));
    }
    touched.end = offset + bits / 8 + (bits % 8 != 0);
    return absl::OkStatus();
  }
};

WeightStore::WeightStore() : impl_(std::make_unique<Impl>()) {
  const float one = 1;
  std::vector<uint8_t> bytes(sizeof(one));
  std::memcpy(bytes.data(), &one, sizeof(one));
  addDecoded(kOne, std::move(bytes));
}
WeightStore::~WeightStore() = default;

absl::Status WeightStore::addFile(std::string_view name, const std::string &path) {
  absl::StatusOr<MappedFile> file = MappedFile::open(path);
  return file.ok() ? addFile(name, *std::move(file)) : file.status();
}

absl::Status WeightStore::addFile(std::string_view name, MappedFile file) {
  auto [entry, added] = impl_->entries.try_emplace(std::string(name));
  if (!added) {
    return absl::AlreadyExistsError(absl::StrCat("weights named \"", std::string(name), "\" exist already"));
  }
  entry->second.file = std::move(file);
  entry->second.isFile = true;
  return absl::OkStatus();
}

void WeightStore::addDecoded(std::string_view name, std::vector<uint8_t> bytes) {
  Impl::Entry &entry = impl_->entries[std::string(name)];
  entry.decoded = std::move(bytes);
  entry.isFile = false;
}

absl::Status WeightStore::addQuantised(std::string_view name, const QuantisedMatrix &m) {
  auto [entry, added] = impl_->entries.try_emplace(std::string(name));
  if (!added) {
    return absl::AlreadyExistsError(absl::StrCat("weights named \"", std::string(name), "\" exist already"));
  }
  // Checked once, so that reading can trust it: the furthest element of each source.
  auto check = [&](SourceAttr source, int64_t row, int64_t perRow, int64_t perColumn) -> absl::Status {
    int64_t last = 0;
    const int64_t lastRow = (m.rows - 1) / perRow, lastColumn = (m.columns - 1) / perColumn;
    if (row < 0 || __builtin_mul_overflow(lastRow, row, &last) || __builtin_add_overflow(last, lastColumn, &last)) {
      return absl::OutOfRangeError(absl::StrCat(std::string(name), ": too large"));
    }
    Touched touched;
    Codec codec;
    absl::Span<const uint8_t> bytes;
    SourceAttr flat = SourceAttr::get(source.getContext(), source.getFile(), source.getOffset(), source.getElement(),
                                      llvm::ArrayRef<int64_t>{1});
    if (const Impl::Entry *own = impl_->find(source.getFile()); own && own->quantised) {
      return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": quantised twice"));
    }
    return impl_->resolve(flat, {last + 1}, touched, codec, bytes);
  };
  absl::Status status;
  if (m.rows < 1 || m.columns < 1 || m.rowBlock < 1 || m.columnBlock < 1 || !m.codes || !m.scales ||
      m.rows > (int64_t(1) << 40) / m.columns) {
    status = absl::InvalidArgumentError(absl::StrCat(std::string(name), ": no elements, or too many"));
  }
  if (status.ok()) {
    status = check(m.codes, m.codeRow, 1, 1);
  }
  if (status.ok()) {
    status = check(m.scales, m.scaleRow, m.rowBlock, m.columnBlock);
  }
  if (status.ok() && m.zeros) {
    status = check(m.zeros, m.zeroRow, m.rowBlock, m.columnBlock);
  }
  if (!status.ok()) {
    impl_->entries.erase(entry);
    return status;
  }
  entry->second.quantised = m;
  return absl::OkStatus();
}

absl::Status WeightStore::absorb(WeightStore &other, std::string_view prefix) {
  auto renamed = [&](SourceAttr source) {
    return source ? SourceAttr::get(source.getContext(),
                                    mlir::StringAttr::get(source.getContext(), std::string(prefix) + source.getFile().str()),
                                    source.getOffset(), source.getElement(), source.getStrides())
                  : source;
  };
  for (auto &[name, entry] : other.impl_->entries) {
    if (name == kOne) {
      continue;
    }
    auto [own, added] = impl_->entries.try_emplace(std::string(prefix) + name);
    if (!added) {
      return absl::AlreadyExistsError(absl::StrCat("weights named \"", std::string(prefix), name, "\" exist already"));
    }
    own->second = std::move(entry);
    if (std::optional<QuantisedMatrix> &matrix = own->second.quantised) {
      matrix->codes = renamed(matrix->codes);
      matrix->scales = renamed(matrix->scales);
      matrix->zeros = renamed(matrix->zeros);
    }
  }
  other.impl_->entries.clear();
  return absl::OkStatus();
}

const QuantisedMatrix *WeightStore::quantised(std::string_view name) const {
  auto found = impl_->entries.find(name);
  return found != impl_->entries.end() && found->second.quantised ? &*found->second.quantised : nullptr;
}

bool WeightStore::readQuantised(SourceAttr source, int64_t columns, int64_t first, int64_t count, int64_t group,
                                int16_t *codes, float *scales) const {
  const Impl::Entry *entry = impl_->find(source.getFile());
  if (!entry || !entry->quantised || source.getStrides().size() != 2 || (columns > 1 && source.getStrides()[1] != 1) ||
      !check(source, first + count, columns).ok()) {
    return false;
  }
  const QuantisedMatrix &m = *entry->quantised;
  const Impl::Elements stored = impl_->elementsOf(m.codes), factors = impl_->elementsOf(m.scales);
  const Impl::Elements zeros = m.zeros ? impl_->elementsOf(m.zeros) : Impl::Elements{};
  // float4's halves are whole numbers of half the scale.
  const float unit = mlir::isa<onnx::Float4E2M1Type>(m.codes.getElement()) ? 0.5f : 1.0f;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = source.getOffset() / static_cast<int64_t>(sizeof(float)) + (first + i) * source.getStrides()[0];
    const int64_t row = at / m.columns, start = at % m.columns, block = row / m.rowBlock;
    if (start + columns > m.columns) {
      return false;
    }
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t scale = (start + column) / m.columnBlock;
      const float zero = zeros.base ? zeros.at(block * m.zeroRow + scale) : m.zero;
      const float code = (stored.at(row * m.codeRow + start + column) - zero) / unit;
      if (column % group == 0) {
        *scales++ = factors.at(block * m.scaleRow + scale) * unit;
        if (scale != (start + std::min(columns, column + group) - 1) / m.columnBlock) {
          return false;
        }
      }
      if (std::abs(code) > 32767 || code != std::floor(code)) {
        return false;
      }
      *codes++ = static_cast<int16_t>(code);
    }
  }
  return true;
}

absl::StatusOr<absl::Span<const uint8_t>> WeightStore::bytes(std::string_view name) const {
  auto found = impl_->entries.find(name);
  if (found == impl_->entries.end()) {
    return absl::NotFoundError(absl::StrCat("no weights named \"", std::string(name), "\""));
  }
  return found->second.bytes();
}

absl::StatusOr<uint64_t> WeightStore::size(std::string_view name) const {
  auto found = impl_->entries.find(name);
  if (found == impl_->entries.end()) {
    return absl::NotFoundError(absl::StrCat("no weights named \"", std::string(name), "\""));
  }
  return found->second.size();
}

absl::Status WeightStore::check(SourceAttr source, int64_t rows, int64_t columns) const {
  Touched touched;
  Codec codec;
  absl::Span<const uint8_t> bytes;
  return impl_->resolve(source, {rows, columns}, touched, codec, bytes);
}

absl::Status WeightStore::read(SourceAttr source, int64_t columns, int64_t first, int64_t count, float *out) const {
  Touched touched;
  Codec codec;
  absl::Span<const uint8_t> bytes;
  int64_t end;
  if (first < 0 || count < 0 || __builtin_add_overflow(first, count, &end)) {
    return absl::InvalidArgumentError(absl::StrCat(describe(source), ": negative row or too many rows"));
  }
  if (absl::Status status = impl_->resolve(source, {end, columns}, touched, codec, bytes); !status.ok()) {
    return status;
  }
  const int64_t rowStride = source.getStrides()[0], columnStride = source.getStrides()[1];
  const uint8_t *base = bytes.data() + source.getOffset();
  if (columns == 0) {
    return absl::OkStatus();
  }
  if (columnStride == 1 && rowStride == columns) {
    impl_->run(source, codec, base, first * rowStride, 1, count * columns, out);
    return absl::OkStatus();
  }
  for (int64_t row = 0; row < count; ++row) {
    impl_->run(source, codec, base, (first + row) * rowStride, columnStride, columns, out + row * columns);
  }
  return absl::OkStatus();
}

absl::Status WeightStore::readTensor(SourceAttr source, absl::Span<const int64_t> shape, float *out) const {
  Touched touched;
  Codec codec;
  absl::Span<const uint8_t> bytes;
  if (absl::Status status = impl_->resolve(source, shape, touched, codec, bytes); !status.ok()) {
    return status;
  }
  if (touched.begin == touched.end) {
    return absl::OkStatus();
  }
  const uint8_t *base = bytes.data() + source.getOffset();
  if (shape.empty()) {
    impl_->run(source, codec, base, 0, 1, 1, out);
    return absl::OkStatus();
  }
  // The innermost axis is one run; the outer ones count like an odometer.
  const size_t inner = shape.size() - 1;
  std::vector<int64_t> index(inner, 0);
  int64_t element = 0;
  while (true) {
    impl_->run(source, codec, base, element, source.getStrides()[inner], shape[inner], out);
    out += shape[inner];
    size_t axis = inner;
    for (; axis > 0; --axis) {
      element += source.getStrides()[axis - 1];
      if (++index[axis - 1] < shape[axis - 1]) {
        break;
      }
      element -= shape[axis - 1] * source.getStrides()[axis - 1];
      index[axis - 1] = 0;
    }
    if (axis == 0) {
      return absl::OkStatus();
    }
  }
}

void WeightStore::release(SourceAttr source, int64_t rows, int64_t columns) const {
  Touched touched;
  Codec codec;
  absl::Span<const uint8_t> bytes;
  if (!impl_->resolve(source, {rows, columns}, touched, codec, bytes).ok() ||
      !impl_->entries.find(std::string_view(source.getFile().data(), source.getFile().size()))->second.isFile) {
    return;
  }
  // A private read-only mapping: dropped pages come back from the file when they are touched again.
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(bytes.data() + touched.begin) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(bytes.data() + touched.end);
  if (begin < end) {
    ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
  }
}

absl::StatusOr<std::string> WeightStore::contentHash(SourceAttr source, int64_t rows, int64_t columns) const {
  if (absl::Status status = check(source, rows, columns); !status.ok()) {
    return status;
  }
  // A hash of block hashes, each of at most kBlock values in order: memory stays small, strides do not matter. Blocks
  // end at fixed value counts, so the hash depends on the values alone (and on the shape, which is hashed first).
  constexpr int64_t kBlock = 1 << 16;
  std::vector<uint64_t> chain = {static_cast<uint64_t>(rows), static_cast<uint64_t>(columns)};
  std::vector<float> block;
  auto flush = [&] {
    llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
        llvm::ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(block.data()), block.size() * sizeof(float)));
    chain.push_back(hash.low64);
    chain.push_back(hash.high64);
    block.clear();
  };
  const int64_t step = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, columns));
  block.reserve(static_cast<size_t>(std::min<int64_t>(step, rows) * columns));
  for (int64_t row = 0; row < rows && columns > 0; row += step) {
    const int64_t count = std::min(step, rows - row);
    block.resize(static_cast<size_t>(count * columns));
    if (absl::Status status = read(source, columns, row, count, block.data()); !status.ok()) {
      return status;
    }
    for (float &value : block) {
      value = value == 0.0f ? 0.0f : value; // -0 equals 0
    }
    flush();
  }
  llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
      llvm::ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(chain.data()), chain.size() * sizeof(uint64_t)));
  return llvm::utohexstr(hash.high64, true, 16) + llvm::utohexstr(hash.low64, true, 16);
}

} // namespace emoe
