#include <gtest/gtest.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "runtime/bundle/bundle.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/bundle/memory_provider.h"
#include "schema/format.h"
#include "test/support/small_model.h"

namespace emoe {
namespace {

std::string text(const rt::Text &text) { return {text.data, text.size}; }

// A folder of its own, removed with what is in it.
class Folder {
public:
  Folder() { EXPECT_NE(mkdtemp(name), nullptr); }
  ~Folder() {
    for (const std::string &file : list()) {
      unlink((std::string(name) + "/" + file).c_str());
    }
    rmdir(name);
  }
  std::string path(const char *file) const { return std::string(name) + "/" + file; }
  std::vector<std::string> list() const {
    std::vector<std::string> files;
    DIR *dir = opendir(name);
    while (dirent *entry = readdir(dir)) {
      if (entry->d_name[0] != '.') {
        files.push_back(entry->d_name);
      }
    }
    closedir(dir);
    return files;
  }

private:
  char name[32] = "/tmp/emoe-writer-XXXXXX";
};

std::vector<uint8_t> readFile(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The embedding, moved behind all else; a damaged byte shows in the part that it belongs to.
TEST(BundleWriter, PagedTensorsHaveAChecksumPerPanel) {
  BundleContents contents = test::smallModel();
  fb::BundleT &index = contents.index;
  std::rotate(index.tensors.begin(), index.tensors.begin() + 1, index.tensors.end());
  index.tensors[3]->paged = true;
  index.steps[0]->operands[1] = fb::Operand(fb::OperandKind::Tensor, 3);
  index.steps[1]->operands[1] = fb::Operand(fb::OperandKind::Tensor, 0);
  index.steps[11]->operands[1] = fb::Operand(fb::OperandKind::Tensor, 1);
  contents.tensor = [&, unmoved = contents.tensor](size_t i, uint8_t *out) { return unmoved((i + 1) % 4, out); };
  auto bytes = writeBundleToMemory(contents);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  rt::MemoryProvider provider(bytes->data(), bytes->size());
  rt::Bundle bundle;
  ASSERT_TRUE(OpenBundle(provider, &bundle).ok());
  EXPECT_TRUE(VerifyBundle(provider, bundle, nullptr, nullptr).ok());
  ASSERT_TRUE(bundle.tensors[3].paged);
  ASSERT_EQ(bundle.panel_crcs.size, 1u + 7);
  const uint8_t *resident = bytes->data() + bundle.resident.offset, *embedding = resident + bundle.tensors[3].offset;
  EXPECT_EQ(rt::Crc32c(resident, bundle.tensors[3].offset), bundle.panel_crcs[0]);
  for (uint64_t panel = 0; panel < 7; ++panel) {
    EXPECT_EQ(rt::Crc32c(embedding + panel * 1088, 1088), bundle.panel_crcs[1 + panel]) << panel;
  }
  CloseBundle(&bundle);
}

TEST(BundleWriter, RoundTripsEveryNumberAndByte) {
  BundleContents contents = test::smallModel();
  auto bytes = writeBundleToMemory(contents);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  rt::MemoryProvider provider(bytes->data(), bytes->size());
  rt::Bundle bundle;
  rt::Status status = OpenBundle(provider, &bundle);
  ASSERT_TRUE(status.ok()) << status.what;
  EXPECT_TRUE(bundle.has_model);
  EXPECT_EQ(text(bundle.model.architecture), "small");
  EXPECT_EQ(bundle.model.vocab, 100u);
  EXPECT_EQ(bundle.model.first_token, 1);
  ASSERT_EQ(bundle.model.stop_tokens.size, 2u);
  EXPECT_EQ(bundle.model.stop_tokens[1], 99);
  EXPECT_EQ(text(bundle.provenance.source), "modèle.onnx");
  EXPECT_EQ(bundle.plan.chunk, 32u);

  // Tensors, where the index says.
  ASSERT_EQ(bundle.tensors.size, contents.index.tensors.size());
  std::vector<uint8_t> resident(bundle.resident.length);
  ASSERT_TRUE(ReadSection(provider, bundle.resident, resident.data()).ok());
  for (size_t i = 0; i < bundle.tensors.size; ++i) {
    std::vector<uint8_t> expected(bundle.tensors[i].bytes);
    ASSERT_TRUE(contents.tensor(i, expected.data()).ok());
    EXPECT_EQ(text(bundle.tensors[i].name), contents.index.tensors[i]->name);
    EXPECT_EQ(std::memcmp(resident.data() + bundle.tensors[i].offset, expected.data(), expected.size()), 0) << i;
  }
  // Steps, operands and extents.
  ASSERT_EQ(bundle.steps.size, contents.index.steps.size());
  for (size_t i = 0; i < bundle.steps.size; ++i) {
    const fb::StepT &step = *contents.index.steps[i];
    EXPECT_EQ(static_cast<int>(bundle.steps[i].kind), static_cast<int>(step.kind));
    EXPECT_EQ(bundle.steps[i].kernel, step.kernel);
    EXPECT_EQ(static_cast<uint32_t>(bundle.steps[i].rows), static_cast<uint32_t>(step.rows));
    ASSERT_EQ(bundle.steps[i].operands.size, step.operands.size());
    for (size_t j = 0; j < step.operands.size(); ++j) {
      EXPECT_EQ(static_cast<int>(bundle.steps[i].operands[j].kind), static_cast<int>(step.operands[j].kind()));
      EXPECT_EQ(bundle.steps[i].operands[j].index, step.operands[j].index());
    }
  }
  // Records and their checksums.
  for (size_t l = 0; l < 2; ++l) {
    const rt::MoeLayer &layer = bundle.moe_layers[l];
    for (size_t e = 0; e < layer.records.size; ++e) {
      const rt::Variant &variant = layer.variants[layer.records[e].variant];
      std::vector<uint8_t> expected(variant.record_bytes), found(variant.record_bytes);
      ASSERT_TRUE(contents.record(l, e, expected.data()).ok());
      ASSERT_TRUE(provider.Read(bundle.experts.offset + layer.records[e].offset, found.data(), found.size()).ok());
      EXPECT_EQ(expected, found);
      uint32_t start = 0;
      for (size_t c = 0; c < variant.chunk_ends.size; ++c) {
        EXPECT_EQ(bundle.chunk_crcs[layer.records[e].first_crc + c],
                  rt::Crc32c(expected.data() + start, variant.chunk_ends[c] - start));
        start = variant.chunk_ends[c];
      }
    }
  }
  // Images, tokenizer.
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(std::memcmp(bytes->data() + bundle.kernels.offset + bundle.images[i].offset, contents.images[i].data(),
                          contents.images[i].size()), 0);
  }
  EXPECT_EQ(std::memcmp(bytes->data() + bundle.tokenizer.offset, contents.tokenizer.data(), 700), 0);
  EXPECT_TRUE(VerifyBundle(provider, bundle, nullptr, nullptr).ok());
  CloseBundle(&bundle);
}

TEST(BundleWriter, IsDeterministicAndTheSameInFileAndMemory) {
  Folder folder;
  BundleContents a = test::smallModel(), b = test::smallModel();
  double last = 0;
  b.progress = [&](double done) {
    EXPECT_GE(done, last);
    last = done;
  };
  auto memory = writeBundleToMemory(a);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(writeBundle(b, folder.path("m.emoe")).ok());
  EXPECT_EQ(last, 1.0);
  EXPECT_EQ(readFile(folder.path("m.emoe")), *memory);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"m.emoe"});
  // A second time over the first.
  ASSERT_TRUE(writeBundle(a, folder.path("m.emoe")).ok());
  EXPECT_EQ(readFile(folder.path("m.emoe")), *memory);
}

TEST(BundleWriter, WritesATokenizerAlone) {
  BundleContents contents;
  contents.tokenizer = {1, 2, 3};
  auto bytes = writeBundleToMemory(contents);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->size(), 8192u);
  rt::MemoryProvider provider(bytes->data(), bytes->size());
  rt::Bundle bundle;
  ASSERT_TRUE(OpenBundle(provider, &bundle).ok());
  EXPECT_FALSE(bundle.has_model);
  EXPECT_TRUE(bundle.tokenizer.present);
  EXPECT_EQ(bundle.tokenizer.length, 3u);
  EXPECT_TRUE(VerifyBundle(provider, bundle, nullptr, nullptr).ok());
  CloseBundle(&bundle);
}

TEST(BundleWriter, LeavesNothingBehindWhenWeightsFail) {
  Folder folder;
  std::string path = folder.path("m.emoe");
  std::ofstream(path) << "what was there before";
  for (bool inTensor : {true, false}) {
    BundleContents contents = test::smallModel();
    if (inTensor) {
      contents.tensor = [](size_t, uint8_t *) { return absl::OutOfRangeError("not finite"); };
    } else {
      contents.record = [](size_t, size_t expert, uint8_t *) {
        return expert == 2 ? absl::OutOfRangeError("not finite") : absl::OkStatus();
      };
    }
    EXPECT_EQ(writeBundle(contents, path).message(), "not finite");
    EXPECT_EQ(folder.list(), std::vector<std::string>{"m.emoe"});
    std::vector<uint8_t> now = readFile(path);
    EXPECT_EQ(std::string(now.begin(), now.end()), "what was there before");
  }
}

TEST(BundleWriter, RefusesWhatTheRuntimeWouldRefuse) {
  Folder folder;
  BundleContents contents = test::smallModel();
  contents.index.steps[1]->kernel = 999;
  absl::Status status = writeBundle(contents, folder.path("m.emoe"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(absl::StrContains(status.message(), "step: no such kernel (step, kernel): 1, 999")) << status;
  EXPECT_TRUE(folder.list().empty());
  BundleContents nothing;
  EXPECT_FALSE(writeBundleToMemory(nothing).ok());
}

TEST(BundleWriter, SaysWhereItCannotWrite) {
  BundleContents contents = test::smallModel();
  absl::Status status = writeBundle(contents, "/nonexistent/folder/m.emoe");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(status.message(), "/nonexistent/folder/m.emoe")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "No such file")) << status;
}

// A signal in the middle of writing removes the temporary file: nothing is left.
TEST(BundleWriter, LeavesNothingBehindWhenInterrupted) {
  Folder folder;
  EXPECT_EXIT(
      {
        BundleContents contents = test::smallModel();
        contents.record = [](size_t, size_t, uint8_t *) {
          raise(SIGINT);
          return absl::OkStatus();
        };
        (void)writeBundle(contents, folder.path("m.emoe"));
      },
      testing::KilledBySignal(SIGINT), "");
  EXPECT_TRUE(folder.list().empty());
}

} // namespace
} // namespace emoe
