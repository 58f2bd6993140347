#include "frontends/onnx/tensors.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "dialects/onnx/onnx.h"
#include "frontends/onnx/wire.h"
#include "llvm/ADT/APInt.h"

using namespace mlir;

namespace emoe::onnx {

Type elementType(MLIRContext *context, DataType type) {
  auto integer = [&](unsigned width, bool isUnsigned = false) -> Type {
    return IntegerType::get(context, width, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
  };
  switch (type) {
  case DataType::Float: return Float32Type::get(context);
  case DataType::Float16: return Float16Type::get(context);
  case DataType::Bfloat16: return BFloat16Type::get(context);
  case DataType::Double: return Float64Type::get(context);
  case DataType::Bool: return integer(1);
  case DataType::Int2: return integer(2);
  case DataType::Int4: return integer(4);
  case DataType::Int8: return integer(8);
  case DataType::Int16: return integer(16);
  case DataType::Int32: return integer(32);
  case DataType::Int64: return integer(64);
  case DataType::Uint2: return integer(2, true);
  case DataType::Uint4: return integer(4, true);
  case DataType::Uint8: return integer(8, true);
  case DataType::Uint16: return integer(16, true);
  case DataType::Uint32: return integer(32, true);
  case DataType::Uint64: return integer(64, true);
  case DataType::Float8E4M3Fn: return Float8E4M3FNType::get(context);
  case DataType::Float8E4M3Fnuz: return Float8E4M3FNUZType::get(context);
  case DataType::Float8E5M2: return Float8E5M2Type::get(context);
  case DataType::Float8E5M2Fnuz: return Float8E5M2FNUZType::get(context);
  case DataType::Float4E2M1: return Float4E2M1Type::get(context);
  case DataType::Float8E8M0: return Float8E8M0Type::get(context);
  case DataType::String: return StringType::get(context);
  default: return nullptr;
  }
}

std::string typeName(DataType type) {
  static constexpr const char *names[] = {
      "undefined", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16", "double",
      "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
      "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2"};
  const size_t number = static_cast<size_t>(type);
  return number < std::size(names) ? names[number] : absl::StrCat("element type ", static_cast<int32_t>(type));
}

namespace {

std::string describe(const TensorInfo &tensor) { return absl::StrCat("tensor \"", tensor.name, "\""); }

// The typed field that holds elements of a type (onnx.proto, TensorProto), and how its numbers are written.
struct TypedField {
  int number = 0;
  Field::Kind kind = Field::Varint;
};
TypedField typedFieldOf(DataType type) {
  switch (type) {
  case DataType::Float: return {4, Field::Fixed32};
  case DataType::Double: return {10, Field::Fixed64};
  case DataType::Int64: return {7, Field::Varint};
  case DataType::Uint32: case DataType::Uint64: return {11, Field::Varint};
  default: return {5, Field::Varint}; // int32_data: everything else, floats by their bits, sub-byte types by the byte
  }
}

} // namespace

Tensors::Tensors(std::string path, MLIRContext *context, WeightStore &store)
    : path_(std::move(path)), directory_(directoryOf(path_)), context_(context), store_(store) {}

absl::StatusOr<RankedTensorType> Tensors::type(const TensorInfo &tensor) const {
  Type element = elementType(context_, tensor.type);
  if (!element || storageBits(element) == 0) {
    return absl::UnimplementedError(
        absl::StrCat(path_, ": ", describe(tensor), ": tensors of ", typeName(tensor.type), " are not supported"));
  }
  return RankedTensorType::get(tensor.dims, element);
}

absl::StatusOr<Tensors::Place> Tensors::place(const TensorInfo &tensor, uint64_t bytes) {
  if (tensor.payload == TensorInfo::Payload::Raw) {
    if (tensor.raw.size != bytes) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": ", describe(tensor), " needs ", bytes, " bytes but has ",
                                                     tensor.raw.size, "; the file is damaged"));
    }
    return Place{kModelFile, tensor.raw.offset};
  }
  if (opened_.count(tensor.location) == 0) {
    if (tensor.location.empty() || tensor.location[0] == '<') { // names of the store that no file has
      return absl::InvalidArgumentError(absl::StrCat(path_, ": ", describe(tensor), ": external data cannot be named \"",
                                                     tensor.location, "\""));
    }
    absl::StatusOr<MappedFile> file = openBeside(directory_, tensor.location);
    if (!file.ok()) {
      return absl::Status(file.status().code(), absl::StrCat(path_, ": ", describe(tensor), ": ",
                                                              file.status().message()));
    }
    if (absl::Status status = store_.addFile(tensor.location, *std::move(file)); !status.ok()) {
      return status;
    }
    opened_.insert(tensor.location);
  }
  const uint64_t size = *store_.size(tensor.location);
  if (tensor.length && *tensor.length != bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", describe(tensor), ": its external data has ", *tensor.length,
                                                   " bytes, its type and shape need ", bytes));
  }
  if (tensor.offset > size || bytes > size - tensor.offset) {
    return absl::OutOfRangeError(absl::StrCat(
        path_, ": ", describe(tensor), ": needs bytes ", tensor.offset, " to ", tensor.offset, " + ", bytes, " of ", directory_, "/",
        tensor.location, ", which has ", size, "; the file is cut off or belongs to another model"));
  }
  return Place{tensor.location, tensor.offset};
}

absl::StatusOr<std::vector<uint8_t>> Tensors::decode(const TensorInfo &tensor, Type element, uint64_t elements,
                                                     uint64_t bytes) const {
  const unsigned bits = storageBits(element);
  const TypedField expected = typedFieldOf(tensor.type);
  auto damaged = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": at byte ", tensor.message.offset, ": ", describe(tensor), ": ", what));
  };
  if (expected.number != tensor.typedField) {
    return damaged(absl::StrCat("its data is in a field that does not hold ", typeName(tensor.type)));
  }
  const uint64_t width = bits >= 8 ? bits / 8 : 1, entries = bits >= 8 ? elements : bytes;
  absl::Span<const uint8_t> file = *store_.bytes(kModelFile);
  std::vector<uint8_t> out; // grows with the numbers that are really there
  uint64_t found = 0;
  FieldWalker walk(file, tensor.message);
  for (Field field; walk.next(field);) {
    if (field.number != expected.number) {
      continue;
    }
    NumberWalker numbers(file, field, expected.kind);
    for (uint64_t number = 0; numbers.next(number);) {
      if (++found > entries) {
        return damaged(absl::StrCat("has more values than the ", entries, " of its shape"));
      }
      if (expected.kind == Field::Varint && width < 8) {
        const int64_t value = static_cast<int64_t>(number), limit = int64_t{1} << (8 * width);
        if (value < -limit / 2 || value >= limit) {
          return damaged(absl::StrCat("value ", value, " does not fit in ", typeName(tensor.type)));
        }
      }
      const uint8_t *least = reinterpret_cast<const uint8_t *>(&number); // little-endian hosts only
      out.insert(out.end(), least, least + width);
    }
    if (numbers.damaged()) {
      return damaged("its values are damaged");
    }
  }
  if (found != entries) {
    return damaged(absl::StrCat("has ", found, " values where its shape needs ", entries));
  }
  return out;
}

DenseElementsAttr Tensors::inlined(RankedTensorType type, absl::Span<const uint8_t> bytes) const {
  const unsigned bits = storageBits(type.getElementType());
  const int64_t elements = type.getNumElements();
  if (type.getElementType().isInteger(1)) {
    llvm::SmallVector<bool> values;
    for (uint8_t byte : bytes) {
      values.push_back(byte != 0);
    }
    return DenseElementsAttr::get(type, values);
  }
  if (bits < 8) {
    llvm::SmallVector<llvm::APInt> values;
    for (int64_t i = 0; i < elements; ++i) {
      const uint64_t bit = static_cast<uint64_t>(i) * bits;
      values.emplace_back(bits, (bytes[bit / 8] >> (bit % 8)) & ((1u << bits) - 1));
    }
    return DenseElementsAttr::get(type, values);
  }
  if (elements == 0) {
    return isa<mlir::FloatType>(type.getElementType()) ? DenseElementsAttr::get(type, llvm::ArrayRef<llvm::APFloat>())
                                                 : DenseElementsAttr::get(type, llvm::ArrayRef<llvm::APInt>());
  }
  // A copy: the attribute wants aligned storage.
  std::vector<char> aligned(bytes.begin(), bytes.end());
  return DenseElementsAttr::getFromRawBuffer(type, aligned);
}

absl::StatusOr<Tensors::Value> Tensors::value(const TensorInfo &tensor, const std::string &name) {
  absl::StatusOr<RankedTensorType> type = this->type(tensor);
  if (!type.ok()) {
    return type.status();
  }
  Type element = type->getElementType();
  const uint64_t elements = static_cast<uint64_t>(type->getNumElements());
  std::optional<uint64_t> bytes = storageBytes(element, elements);
  if (!bytes || *bytes > INT64_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", describe(tensor), ": its size overflows"));
  }
  const bool isFloat = isa<mlir::FloatType>(element);
  const bool isInline = elements == 0 ? element.isIntOrFloat()
                        : isFloat     ? elements == 1
                                      : element.isIntOrIndex() && elements <= kMaxInlineElements;

  std::vector<uint8_t> decoded;
  std::optional<Place> where;
  using Payload = TensorInfo::Payload;
  if (tensor.payload == Payload::None && elements != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", describe(tensor), " has no data for its ", elements,
                                                   " elements; was it exported without weights?"));
  }
  if (tensor.payload == Payload::Raw || tensor.payload == Payload::External) {
    absl::StatusOr<Place> place = this->place(tensor, *bytes);
    if (!place.ok()) {
      return place.status();
    }
    where = *place;
  } else if (tensor.payload == Payload::Typed && tensor.packed.size == *bytes && elements != 0 &&
             typedFieldOf(tensor.type).kind != Field::Varint && typedFieldOf(tensor.type).number == tensor.typedField) {
    where = Place{kModelFile, tensor.packed.offset}; // packed floats and doubles are plain bytes
  } else if (tensor.payload == Payload::Typed) {
    absl::StatusOr<std::vector<uint8_t>> values = decode(tensor, element, elements, *bytes);
    if (!values.ok()) {
      return values.status();
    }
    decoded = *std::move(values);
  }
  if (isInline) {
    absl::Span<const uint8_t> plain(decoded.data(), decoded.size());
    if (where) {
      plain = store_.bytes(where->file)->subspan(where->offset, *bytes);
    }
    return Value(inlined(*type, plain));
  }
  if (!where) {
    where = Place{absl::StrCat("<decoded:", name, ">"), 0};
    store_.addDecoded(where->file, std::move(decoded));
  }
  llvm::SmallVector<int64_t> strides(tensor.dims.size(), 1);
  for (size_t i = strides.size(); i > 1; --i) {
    strides[i - 2] = strides[i - 1] * std::max<int64_t>(tensor.dims[i - 1], 1);
  }
  return Value(SourceAttr::get(context_, StringAttr::get(context_, where->file), static_cast<int64_t>(where->offset),
                               element, strides));
}

} // namespace emoe::onnx
