// Tensors of every type, in every form that a file may give them.
#include <cstring>

#include "support.h"

namespace emoe::onnx::test {
namespace {

template <typename T> std::string bytesOf(const std::vector<T> &values) {
  return std::string(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T));
}

// One type of TensorProto: its number, how MLIR prints it, and the bytes of four elements.
struct TypeCase {
  int type;
  const char *printed;
  std::string raw;
  std::vector<float> values;
};

std::vector<TypeCase> typeCases() {
  return {
      {1, "f32", bytesOf<float>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {2, "ui8", bytesOf<uint8_t>({1, 2, 3, 255}), {1, 2, 3, 255}},
      {3, "i8", bytesOf<int8_t>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {4, "ui16", bytesOf<uint16_t>({1, 2, 3, 65535}), {1, 2, 3, 65535}},
      {5, "i16", bytesOf<int16_t>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {6, "i32", bytesOf<int32_t>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {7, "i64", bytesOf<int64_t>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {9, "i1", bytesOf<uint8_t>({1, 0, 0, 1}), {1, 0, 0, 1}},
      {10, "f16", bytesOf<uint16_t>({0x3c00, 0xc000, 0x4200, 0x4400}), {1, -2, 3, 4}},
      {11, "f64", bytesOf<double>({1, -2, 3, 4}), {1, -2, 3, 4}},
      {12, "ui32", bytesOf<uint32_t>({1, 2, 3, 4}), {1, 2, 3, 4}},
      {13, "ui64", bytesOf<uint64_t>({1, 2, 3, 4}), {1, 2, 3, 4}},
      {16, "bf16", bytesOf<uint16_t>({0x3f80, 0xc000, 0x4040, 0x4080}), {1, -2, 3, 4}},
      {17, "f8E4M3FN", "\x38\xc0\x44\x48", {1, -2, 3, 4}},
      {18, "f8E4M3FNUZ", "\x40\xc8\x4c\x50", {1, -2, 3, 4}},
      {19, "f8E5M2", "\x3c\xc0\x42\x44", {1, -2, 3, 4}},
      {20, "f8E5M2FNUZ", "\x40\xc4\x46\x48", {1, -2, 3, 4}},
      {21, "ui4", "\x21\xf3", {1, 2, 3, 15}},
      {22, "i4", "\xe1\x43", {1, -2, 3, 4}},
      {23, "!onnx.f4E2M1", "\xc2\x65", {1, -2, 3, 4}},
      {24, "!onnx.f8E8M0", "\x7f\x80\x81\x82", {1, 2, 4, 8}},
      {25, "ui2", "\xe4", {0, 1, 2, 3}},
      {26, "i2", "\xe4", {0, 1, -2, -1}},
  };
}

// The values of tensor "w", whether it became a symbol or a constant.
std::vector<float> valuesOf(Imported &imported) {
  std::vector<float> values;
  (*imported.module)->walk([&](TensorOp op) {
    auto type = mlir::cast<mlir::RankedTensorType>(op.getType());
    values.resize(static_cast<size_t>(type.getNumElements()));
    absl::Status status = imported.store.readTensor(op.getSource(), absl::MakeSpan(type.getShape().data(), type.getRank()),
                                                    values.data());
    EXPECT_TRUE(status.ok()) << status;
  });
  (*imported.module)->walk([&](ConstantOp op) {
    auto dense = mlir::cast<mlir::DenseElementsAttr>(op.getValue());
    auto integer = mlir::dyn_cast<mlir::IntegerType>(dense.getElementType());
    if (integer) {
      for (const llvm::APInt &value : dense.getValues<llvm::APInt>()) {
        values.push_back(integer.isUnsigned() || integer.getWidth() == 1 ? static_cast<float>(value.getZExtValue())
                                                                         : static_cast<float>(value.getSExtValue()));
      }
    } else {
      for (llvm::APFloat value : dense.getValues<llvm::APFloat>()) {
        bool losesInfo;
        value.convert(llvm::APFloat::IEEEsingle(), llvm::APFloat::rmNearestTiesToEven, &losesInfo);
        values.push_back(value.convertToFloat());
      }
    }
  });
  return values;
}

TEST(OnnxTensors, RawDataOfEveryType) {
  for (const TypeCase &item : typeCases()) {
    SCOPED_TRACE(item.printed);
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, item.type, {2, 2});
    w->set_raw_data(item.raw);
    TempFolder folder;
    auto imported = import(folder, model);
    ASSERT_TRUE(imported->ok()) << imported->message();
    EXPECT_TRUE(imported->prints(std::string("tensor<2x2x") + item.printed + ">")) << imported->text();
    EXPECT_EQ(valuesOf(*imported), item.values);
  }
}

TEST(OnnxTensors, ExternalDataOfEveryTypeAtAnOddOffset) {
  for (const TypeCase &item : typeCases()) {
    SCOPED_TRACE(item.printed);
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, item.type, {2, 2});
    setExternal(w, "w.bin", 3, static_cast<int64_t>(item.raw.size()));
    TempFolder folder;
    folder.write("w.bin", "abc" + item.raw + "tail");
    auto imported = import(folder, model);
    ASSERT_TRUE(imported->ok()) << imported->message();
    EXPECT_EQ(valuesOf(*imported), item.values);
  }
}

// int32_data holds everything up to 32 bits: small types one by one, sub-byte types a byte at a time.
TEST(OnnxTensors, TypedDataOfEveryType) {
  for (const TypeCase &item : typeCases()) {
    SCOPED_TRACE(item.printed);
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, item.type, {2, 2});
    const uint8_t *raw = reinterpret_cast<const uint8_t *>(item.raw.data());
    auto at = [&](auto value, size_t i) {
      std::memcpy(&value, raw + i * sizeof(value), sizeof(value));
      return value;
    };
    const size_t width = std::max<size_t>(1, item.raw.size() / 4), entries = item.raw.size() / width;
    for (size_t i = 0; i < entries; ++i) {
      switch (item.type) {
      case 1: w->add_float_data(at(float(), i)); break;
      case 11: w->add_double_data(at(double(), i)); break;
      case 7: w->add_int64_data(at(int64_t(), i)); break;
      case 12: w->add_uint64_data(at(uint32_t(), i)); break;
      case 13: w->add_uint64_data(at(uint64_t(), i)); break;
      case 3: w->add_int32_data(at(int8_t(), i)); break;
      case 5: w->add_int32_data(at(int16_t(), i)); break;
      case 6: w->add_int32_data(at(int32_t(), i)); break;
      default: w->add_int32_data(width == 2 ? at(uint16_t(), i) : at(uint8_t(), i)); break;
      }
    }
    TempFolder folder;
    auto imported = import(folder, model);
    ASSERT_TRUE(imported->ok()) << imported->message();
    EXPECT_EQ(valuesOf(*imported), item.values);
    // Packed floats lie in the file as they are: they are not copied.
    EXPECT_EQ(imported->prints("<decoded:"), item.type == 10 || item.type == 16 || (item.type >= 17 && item.type <= 20) ||
                                                 item.type == 23 || item.type == 24)
        << imported->text();
  }
}

// Writers may also leave repeated numbers unpacked, or in several packed runs; both are decoded.
TEST(OnnxTensors, UnpackedAndSplitRuns) {
  ::onnx::TensorProto tensor;
  tensor.set_name("w");
  tensor.set_data_type(1);
  tensor.add_dims(4);
  std::string bytes = tensor.SerializeAsString();
  const std::vector<float> values = {1, 2, 3, 4};
  for (int i = 0; i < 2; ++i) { // tag of field 4, wire type 5
    bytes += "\x25" + std::string(reinterpret_cast<const char *>(&values[static_cast<size_t>(i)]), 4);
  }
  bytes += std::string("\x22\x08") + std::string(reinterpret_cast<const char *>(&values[2]), 8);
  ::onnx::ModelProto model = newModel();
  addNode(model.mutable_graph(), "Identity", {"w"}, {"y"});
  addOutput(model.mutable_graph(), "y");
  std::string graph = model.graph().SerializeAsString();
  graph += "\x2a" + std::string(1, static_cast<char>(bytes.size())) + bytes; // field 5: initializer
  model.clear_graph();
  std::string file = model.SerializeAsString();
  file += "\x3a" + std::string(1, static_cast<char>(graph.size())) + graph; // field 7: graph
  ASSERT_LT(graph.size(), 128u);
  TempFolder folder;
  Imported imported(folder.write("model.onnx", file));
  ASSERT_TRUE(imported.ok()) << imported.message();
  EXPECT_EQ(valuesOf(imported), values);
}

TEST(OnnxTensors, SmallOnesAreConstantsLargeOnesSymbols) {
  auto printed = [](int type, std::vector<int64_t> dims, size_t bytes) {
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, type, dims);
    w->set_raw_data(std::string(bytes, '\0'));
    TempFolder folder;
    return import(folder, model)->text();
  };
  EXPECT_NE(printed(1, {}, 4).find("onnx.constant dense<0.0"), std::string::npos);
  EXPECT_NE(printed(1, {1, 1}, 4).find("onnx.constant dense<0.0"), std::string::npos);
  EXPECT_NE(printed(1, {0, 4}, 0).find("onnx.constant dense<> : tensor<0x4xf32>"), std::string::npos);
  EXPECT_NE(printed(1, {2}, 8).find("onnx.tensor @w : tensor<2xf32>"), std::string::npos);
  EXPECT_NE(printed(7, {4096}, 32768).find("onnx.constant dense<0>"), std::string::npos);
  EXPECT_NE(printed(7, {4097}, 32776).find("onnx.tensor @w : tensor<4097xi64>"), std::string::npos);
  EXPECT_NE(printed(1, {2, 3, 4}, 96).find("f32, [12, 4, 1]>"), std::string::npos);
}

TEST(OnnxTensors, DamageIsNamed) {
  struct Case {
    const char *says;
    absl::StatusCode code;
    int type;
    std::vector<int64_t> dims;
    void (*fill)(::onnx::TensorProto *);
  };
  const Case cases[] = {
      {"needs 16 bytes but has 15", absl::StatusCode::kInvalidArgument, 1, {4},
       [](auto *w) { w->set_raw_data(std::string(15, 'x')); }},
      {"needs 2 bytes but has 3", absl::StatusCode::kInvalidArgument, 22, {3},
       [](auto *w) { w->set_raw_data(std::string(3, 'x')); }},
      {"has no data for its 4 elements", absl::StatusCode::kInvalidArgument, 1, {4}, [](auto *) {}},
      {"has 1 values where its shape needs 2", absl::StatusCode::kInvalidArgument, 6, {2},
       [](auto *w) { w->add_int32_data(1); }},
      {"has more values than the 1 of its shape", absl::StatusCode::kInvalidArgument, 6, {1},
       [](auto *w) { w->add_int32_data(1), w->add_int32_data(1); }},
      {"value 256 does not fit in uint8", absl::StatusCode::kInvalidArgument, 2, {1},
       [](auto *w) { w->add_int32_data(256); }},
      {"in a field that does not hold int64", absl::StatusCode::kInvalidArgument, 7, {1},
       [](auto *w) { w->add_float_data(1); }},
      {"has data in two places", absl::StatusCode::kInvalidArgument, 1, {1},
       [](auto *w) { w->add_float_data(1), w->set_raw_data("abcd"); }},
      {"has data in two fields", absl::StatusCode::kInvalidArgument, 1, {1},
       [](auto *w) { w->add_float_data(1), w->add_int32_data(1); }},
      {"the product of its dimensions overflows", absl::StatusCode::kInvalidArgument, 1, {INT64_MAX, 3},
       [](auto *w) { w->set_raw_data("abcd"); }},
      {"negative extent", absl::StatusCode::kInvalidArgument, 1, {-1}, [](auto *w) { w->set_raw_data("abcd"); }},
      {"its size overflows", absl::StatusCode::kInvalidArgument, 1, {INT64_MAX},
       [](auto *w) { w->set_raw_data("abcd"); }},
      {"tensors of complex64 are not supported", absl::StatusCode::kUnimplemented, 14, {1},
       [](auto *w) { w->set_raw_data("abcdabcd"); }},
      {"tensors of string are not supported", absl::StatusCode::kUnimplemented, 8, {1},
       [](auto *w) { w->add_string_data("a"); }},
      {"tensors of element type 99 are not supported", absl::StatusCode::kUnimplemented, 99, {1},
       [](auto *w) { w->set_raw_data("a"); }},
  };
  for (const Case &item : cases) {
    SCOPED_TRACE(item.says);
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, item.type, item.dims);
    item.fill(w);
    auto imported = import(model);
    EXPECT_EQ(imported->code(), item.code) << imported->message();
    EXPECT_TRUE(imported->says(item.says)) << imported->message();
  }
}

} // namespace
} // namespace emoe::onnx::test
