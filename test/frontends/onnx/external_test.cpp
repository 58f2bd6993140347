// External data: what a model may refer to, and what is refused. A model is untrusted; its paths most of all.
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

namespace emoe::onnx::test {
namespace {

using absl::StatusCode;

// A model whose tensor w, float [4], is external.
::onnx::ModelProto externalModel(const std::string &location, int64_t offset = 0, int64_t length = 16) {
  ::onnx::TensorProto *w;
  ::onnx::ModelProto model = modelWith(&w, 1, {4});
  setExternal(w, location, offset, length);
  return model;
}

struct OnnxExternal : ::testing::Test {
  TempFolder folder;
  std::unique_ptr<Imported> run(const ::onnx::ModelProto &model) { return import(folder, model); }
  void expect(const ::onnx::ModelProto &model, StatusCode code, const std::string &says) {
    auto imported = run(model);
    EXPECT_EQ(imported->code(), code) << imported->text();
    EXPECT_TRUE(imported->says(says)) << imported->message();
    EXPECT_TRUE(imported->says("\"w\"")) << imported->message();
  }
};

const std::string kData(16, 'd');

TEST_F(OnnxExternal, SeveralFilesAndFoldersBelow) {
  folder.write("a.bin", kData);
  folder.write("sub/b.bin", "x" + kData);
  ::onnx::ModelProto model = externalModel("a.bin");
  setExternal(addInitializer(model.mutable_graph(), "v", 1, {4}), "sub/b.bin", 1); // unaligned, no length
  addNode(model.mutable_graph(), "Add", {"w", "v"}, {"z"});
  addOutput(model.mutable_graph(), "z");
  auto imported = run(model);
  ASSERT_TRUE(imported->ok()) << imported->message();
  EXPECT_TRUE(imported->prints("<\"a.bin\", 0, f32, [1]>"));
  EXPECT_TRUE(imported->prints("<\"sub/b.bin\", 1, f32, [1]>"));
}

TEST_F(OnnxExternal, MissingAndShort) {
  expect(externalModel("none.bin"), StatusCode::kNotFound, "none.bin");
  folder.write("w.bin", kData);
  expect(externalModel("w.bin", 1), StatusCode::kOutOfRange, "which has 16");
  expect(externalModel("w.bin", 17), StatusCode::kOutOfRange, "which has 16");
  expect(externalModel("w.bin", 0, 12), StatusCode::kInvalidArgument, "has 12 bytes, its type and shape need 16");
  folder.write("empty.bin", "");
  expect(externalModel("empty.bin"), StatusCode::kOutOfRange, "which has 0");
}

TEST_F(OnnxExternal, OffsetsThatOverflow) {
  folder.write("w.bin", kData);
  expect(externalModel("w.bin", INT64_MAX), StatusCode::kOutOfRange, "which has 16");
  for (const char *offset : {"18446744073709551615", "18446744073709551600"}) {
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, 1, {4});
    setExternal(w, "w.bin");
    addEntry(w, "offset", offset);
    expect(model, StatusCode::kOutOfRange, offset);
  }
  for (const char *offset : {"18446744073709551616", "-1", "+1", " 1", "1 ", "0x10", ""}) {
    SCOPED_TRACE(offset);
    ::onnx::TensorProto *w;
    ::onnx::ModelProto model = modelWith(&w, 1, {4});
    setExternal(w, "w.bin");
    addEntry(w, "offset", offset);
    expect(model, StatusCode::kInvalidArgument, "is no number");
  }
}

TEST_F(OnnxExternal, PathsThatLeave) {
  folder.write("w.bin", kData);
  TempFolder other;
  other.write("secret", kData);
  expect(externalModel(other / "secret"), StatusCode::kPermissionDenied, "absolute");
  expect(externalModel("../w.bin"), StatusCode::kPermissionDenied, "\"..\"");
  expect(externalModel("a/../../w.bin"), StatusCode::kPermissionDenied, "\"..\"");
  expect(externalModel("a/.."), StatusCode::kPermissionDenied, "\"..\"");
  expect(externalModel(std::string("w.bin\0x", 7)), StatusCode::kInvalidArgument, "zero byte");
  expect(externalModel(std::string(5000, 'a')), StatusCode::kInvalidArgument, "too long");
  expect(externalModel("."), StatusCode::kPermissionDenied, "outside"); // the folder itself is not inside itself
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect(externalModel("pipe"), StatusCode::kInvalidArgument, "not a regular file");
  expect(externalModel("<model>"), StatusCode::kInvalidArgument, "cannot be named");
}

TEST_F(OnnxExternal, LinksStayInside) {
  TempFolder other;
  other.write("secret", kData);
  folder.write("real.bin", kData);
  ASSERT_EQ(::symlink("real.bin", (folder / "inside").c_str()), 0);
  ASSERT_EQ(::symlink((other / "secret").c_str(), (folder / "outside").c_str()), 0);
  ASSERT_EQ(::symlink((other / "").c_str(), (folder / "dir").c_str()), 0);
  EXPECT_TRUE(run(externalModel("inside"))->ok());
  expect(externalModel("outside"), StatusCode::kPermissionDenied, "outside the model's folder");
  expect(externalModel("dir/secret"), StatusCode::kPermissionDenied, "outside the model's folder");
}

// models--x/snapshots/REV/{model.onnx, data} are links to models--x/blobs/HASH.
TEST_F(OnnxExternal, HuggingFaceCache) {
  folder.write("hub/models--x/blobs/1234", kData);
  folder.write("hub/models--y/blobs/5678", kData);
  folder.write("hub/models--x/blobs/abcd", externalModel("model.onnx_data").SerializeAsString());
  const std::string snapshot = folder / "hub/models--x/snapshots/rev/";
  std::filesystem::create_directories(snapshot + "onnx");
  ASSERT_EQ(::symlink("../../blobs/abcd", (snapshot + "model.onnx").c_str()), 0);
  ASSERT_EQ(::symlink("../../blobs/1234", (snapshot + "model.onnx_data").c_str()), 0);
  EXPECT_TRUE(Imported(snapshot + "model.onnx").ok()) << Imported(snapshot + "model.onnx").message();
  // One folder deeper, as repositories with onnx/ have it.
  ASSERT_EQ(::symlink("../../../blobs/abcd", (snapshot + "onnx/model.onnx").c_str()), 0);
  ASSERT_EQ(::symlink("../../../blobs/1234", (snapshot + "onnx/model.onnx_data").c_str()), 0);
  EXPECT_TRUE(Imported(snapshot + "onnx/model.onnx").ok());
  // Blobs of another model are outside.
  ASSERT_EQ(::unlink((snapshot + "model.onnx_data").c_str()), 0);
  ASSERT_EQ(::symlink("../../../models--y/blobs/5678", (snapshot + "model.onnx_data").c_str()), 0);
  EXPECT_EQ(Imported(snapshot + "model.onnx").code(), StatusCode::kPermissionDenied);
}

TEST_F(OnnxExternal, ConstantsMayBeExternalToo) {
  folder.write("w.bin", kData);
  ::onnx::ModelProto model = newModel();
  auto *node = addNode(model.mutable_graph(), "Constant", {}, {"c"});
  auto *tensor = addAttribute(node, "value", ::onnx::AttributeProto::TENSOR)->mutable_t();
  tensor->set_name("w");
  tensor->set_data_type(1);
  tensor->add_dims(4);
  setExternal(tensor, "w.bin");
  addOutput(model.mutable_graph(), "c");
  EXPECT_TRUE(run(model)->prints("onnx.tensor @c : tensor<4xf32> <\"w.bin\", 0, f32, [1]>"));
}

} // namespace
} // namespace emoe::onnx::test
