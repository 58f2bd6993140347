// Files that are cut, flipped, swapped or unreadable, and memory that runs out: always a status, never a crash.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "flatbuffers/flatbuffers.h"
#include "runtime/bundle/bundle.h"
#include "runtime/bundle/index.h"
#include "runtime/bundle/memory_provider.h"
#include "schema/bundle_generated.h"
#include "schema/format.h"
#include "test/support/small_model.h"

// Allocations of the runtime that are still allowed to succeed; negative: all.
static int allowedAllocations = -1;
static bool allocationFails() {
  if (allowedAllocations < 0) return false;
  return allowedAllocations == 0 || (--allowedAllocations, false);
}
extern "C" void *__real_malloc(size_t);
extern "C" void *__real_realloc(void *, size_t);
extern "C" void *__wrap_malloc(size_t bytes) { return allocationFails() ? nullptr : __real_malloc(bytes); }
extern "C" void *__wrap_realloc(void *p, size_t bytes) { return allocationFails() ? nullptr : __real_realloc(p, bytes); }

namespace emoe::rt {
namespace {

const std::vector<uint8_t> &Good() {
  static const std::vector<uint8_t> bytes = test::bundleWithIndex([](fb::BundleT &) {});
  return bytes;
}

Status Open(const std::vector<uint8_t> &bytes, bool verify = false) {
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  Status status = OpenBundle(provider, &bundle);
  if (status.ok() && verify) status = VerifyBundle(provider, bundle, nullptr, nullptr);
  CloseBundle(&bundle);
  return status;
}

emoe_header HeaderOf(const std::vector<uint8_t> &bytes) {
  emoe_header header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header;
}

// Where the index is.
emoe_section FirstSection(const std::vector<uint8_t> &bytes) {
  emoe_section section;
  std::memcpy(&section, bytes.data() + sizeof(emoe_header), sizeof(section));
  return section;
}

TEST(BadBytes, EveryTruncationIsRefused) {
  ASSERT_TRUE(Open(Good(), true).ok());
  const emoe_section index = FirstSection(Good());
  std::mt19937_64 random(7);
  auto check = [&](size_t length) {
    std::vector<uint8_t> cut(Good().begin(), Good().begin() + static_cast<long>(length));
    Status status = Open(cut);
    ASSERT_EQ(status.code, StatusCode::kBadBundle) << length;
    if (length >= EMOE_SECTION_ALIGN) {  // the header is whole; let it say the new length
      emoe_header header = HeaderOf(cut);
      header.file_bytes = length;
      std::memcpy(cut.data(), &header, sizeof(header));
      test::repairChecksums(cut);
      ASSERT_EQ(Open(cut).code, StatusCode::kBadBundle) << length;
    }
  };
  for (size_t length = 0; length < index.offset + index.length; ++length) check(length);
  for (int i = 0; i < 500; ++i) check(random() % Good().size());
  std::vector<uint8_t> longer = Good();
  longer.resize(longer.size() + 4096);
  EXPECT_EQ(Open(longer).code, StatusCode::kBadBundle);
}

// A shortened index with right checksums: the reader's own bounds are what stops it.
TEST(BadBytes, EveryShorterIndexIsRefused) {
  const emoe_section index = FirstSection(Good());
  const uint8_t *bytes = Good().data() + index.offset;
  for (size_t length = 0; length < index.length; ++length) {
    void *memory = std::malloc(length + 1);
    std::memcpy(memory, bytes, length);
    Bundle bundle;
    Status status = ReadIndex(&memory, length, &bundle);
    // The builder writes back to front: the last object's last bytes may be padding that nothing reads.
    ASSERT_TRUE(!status.ok() || length + 8 > index.length) << length;
    std::free(memory);
  }
}

TEST(BadBytes, EachHeaderFieldIsChecked) {
  struct Field {
    const char *name;
    size_t offset, size;
    bool free;  // any value is accepted
  };
  std::vector<Field> fields = {{"magic", 0, 8, false},           {"major", 8, 2, false},
                               {"minor", 10, 2, true},           {"section_count", 12, 4, false},
                               {"required", 16, 8, false},       {"optional", 24, 8, true},
                               {"file_bytes", 32, 8, false},     {"reserved", 40, 8, false},
                               {"reserved end", 56, 4, false},   {"type", 64, 4, false},
                               {"offset", 72, 8, false},         {"length", 80, 8, false},
                               {"section reserved", 88, 8, false}, {"second type", 96, 4, false},
                               {"second offset", 104, 8, false}, {"second length", 112, 8, false},
                               {"experts crc", 132, 4, false},   {"experts length", 144, 8, false}};
  for (const Field &field : fields) {
    for (uint64_t value : {uint64_t{0}, ~uint64_t{0}, ~uint64_t{0} - 1, ~uint64_t{0} >> 1}) {
      std::vector<uint8_t> bytes = Good();
      if (std::memcmp(bytes.data() + field.offset, &value, field.size) == 0) continue;
      std::memcpy(bytes.data() + field.offset, &value, field.size);
      EXPECT_FALSE(Open(bytes).ok()) << field.name << " " << value;
      test::repairChecksums(bytes);
      Status status = Open(bytes);
      EXPECT_EQ(status.ok(), field.free) << field.name << " " << value << ": " << status.what;
    }
  }
  std::vector<uint8_t> newer = Good();
  newer[8] = 2;
  EXPECT_EQ(Open(newer).code, StatusCode::kUnsupported);
  newer = Good();
  newer[16] = 1;
  test::repairChecksums(newer);
  EXPECT_EQ(Open(newer).code, StatusCode::kUnsupported);
}

TEST(BadBytes, EveryFlippedBitIsFound) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 5000; ++i) {
    std::vector<uint8_t> bytes = Good();
    // Half of the flips hit the first 16 KiB, where the numbers are.
    size_t at = random() % (i % 2 ? bytes.size() : 16384);
    bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8));
    ASSERT_FALSE(Open(bytes, true).ok()) << "byte " << at << " in flip " << i;
  }
}

// With right checksums a flip may be harmless. What is accepted must be safe to walk: verify reads every record.
TEST(BadBytes, FlippedBitsWithRepairedChecksumsNeverCrash) {
  std::mt19937_64 random(13);
  const emoe_section index = FirstSection(Good());
  int accepted = 0;
  for (int i = 0; i < 5000; ++i) {
    std::vector<uint8_t> bytes = Good();
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      size_t at = random() % 8 == 0 ? random() % 256 : index.offset + random() % index.length;
      bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8));
    }
    test::repairChecksums(bytes);
    accepted += Open(bytes, true).ok();
  }
  EXPECT_GT(accepted, 0);     // names and numbers that are free
  EXPECT_LT(accepted, 4000);  // most are not
}

void ExpectSame(const Text &ours, const flatbuffers::String *theirs) {
  ASSERT_EQ(ours.size, theirs ? theirs->size() : 0);
  if (ours.size) {
    EXPECT_EQ(std::memcmp(ours.data, theirs->data(), ours.size), 0);
  }
}

template <typename T, typename V>
void ExpectSameBytes(const Span<T> &ours, const V *theirs) {
  ASSERT_EQ(ours.size, theirs ? theirs->size() : 0);
  if (ours.size) {
    EXPECT_EQ(std::memcmp(ours.data, theirs->Data(), ours.size * sizeof(T)), 0);
  }
}

// What ReadIndex saw is what the library sees.
void ExpectSameIndex(const Bundle &b, const fb::Bundle &f) {
  ExpectSame(b.model.architecture, f.model()->architecture());
  EXPECT_EQ(b.model.vocab, f.model()->vocab());
  EXPECT_EQ(b.model.hidden, f.model()->hidden());
  EXPECT_EQ(b.model.layers, f.model()->layers());
  EXPECT_EQ(b.model.context, f.model()->context());
  EXPECT_EQ(b.model.positions, f.model()->positions());
  EXPECT_EQ(b.model.first_token, f.model()->first_token());
  EXPECT_EQ(b.model.parameters, f.model()->parameters());
  ExpectSameBytes(b.model.stop_tokens, f.model()->stop_tokens());
  ExpectSameBytes(b.buffers, f.buffers());
  ExpectSameBytes(b.kv_layers, f.kv_layers());
  ExpectSameBytes(b.states, f.states());
  ExpectSameBytes(b.chunk_crcs, f.chunk_crcs());
  ExpectSameBytes(b.panel_crcs, f.panel_crcs());
  EXPECT_EQ(b.kv_bits, f.kv_bits());
  EXPECT_EQ(b.logits, f.logits());
  ASSERT_EQ(b.tensors.size, f.tensors() ? f.tensors()->size() : 0);
  for (uint32_t i = 0; i < b.tensors.size; ++i) {
    const Tensor &ours = b.tensors[i];
    const fb::Tensor &theirs = *f.tensors()->Get(i);
    ExpectSame(ours.name, theirs.name());
    EXPECT_TRUE(ours.offset == theirs.offset() && ours.bytes == theirs.bytes() && ours.rows == theirs.rows() &&
                ours.columns == theirs.columns() && ours.paged == theirs.paged());
    const Layout none{};
    EXPECT_EQ(std::memcmp(&ours.layout, theirs.layout() ? static_cast<const void *>(theirs.layout()) : &none, 8), 0);
  }
  ASSERT_EQ(b.kernel_table.size, f.kernels() ? f.kernels()->size() : 0);
  for (uint32_t i = 0; i < b.kernel_table.size; ++i) {
    const fb::Kernel &theirs = *f.kernels()->Get(i);
    ExpectSame(b.kernel_table[i].name, theirs.name());
    ExpectSameBytes(b.kernel_table[i].extents, theirs.extents());
    EXPECT_EQ(b.kernel_table[i].tiles_fixed, theirs.tiles_fixed());
    EXPECT_EQ(b.kernel_table[i].tiles_per_token, theirs.tiles_per_token());
  }
  ASSERT_EQ(b.steps.size, f.steps() ? f.steps()->size() : 0);
  for (uint32_t i = 0; i < b.steps.size; ++i) {
    const fb::Step &theirs = *f.steps()->Get(i);
    ExpectSameBytes(b.steps[i].operands, theirs.operands());
    EXPECT_TRUE(static_cast<int>(b.steps[i].kind) == static_cast<int>(theirs.kind()) &&
                b.steps[i].kernel == theirs.kernel() && b.steps[i].layer == theirs.layer() &&
                static_cast<uint32_t>(b.steps[i].rows) == static_cast<uint32_t>(theirs.rows()));
  }
  ASSERT_EQ(b.moe_layers.size, f.moe_layers() ? f.moe_layers()->size() : 0);
  for (uint32_t i = 0; i < b.moe_layers.size; ++i) {
    const MoeLayer &ours = b.moe_layers[i];
    const fb::MoeLayer &theirs = *f.moe_layers()->Get(i);
    EXPECT_TRUE(ours.experts == theirs.experts() && ours.top_k == theirs.top_k());
    EXPECT_TRUE(ours.capacity == theirs.capacity() && ours.source == theirs.source() && ours.ranked == theirs.ranked());
    const float weights[] = {ours.weight_floor, ours.weight_scale}, same[] = {theirs.weight_floor(), theirs.weight_scale()};
    EXPECT_EQ(std::memcmp(weights, same, sizeof(weights)), 0);
    ExpectSameBytes(ours.records, theirs.records());
    ASSERT_EQ(ours.variants.size, theirs.variants() ? theirs.variants()->size() : 0);
    for (uint32_t v = 0; v < ours.variants.size; ++v) {
      const fb::Variant &variant = *theirs.variants()->Get(v);
      ExpectSameBytes(ours.variants[v].chunk_ends, variant.chunk_ends());
      EXPECT_EQ(ours.variants[v].record_bytes, variant.record_bytes());
      EXPECT_EQ(ours.variants[v].down_kernel, variant.down_kernel());
      EXPECT_EQ(ours.variants[v].down_offset, variant.down_offset());
    }
  }
  ASSERT_EQ(b.images.size, f.images() ? f.images()->size() : 0);
  for (uint32_t i = 0; i < b.images.size; ++i) {
    const fb::KernelImage &theirs = *f.images()->Get(i);
    ExpectSame(b.images[i].isa, theirs.isa());
    ExpectSameBytes(b.images[i].entries, theirs.entries());
    EXPECT_TRUE(b.images[i].offset == theirs.offset() && b.images[i].bytes == theirs.bytes() &&
                b.images[i].features == theirs.features() && b.images[i].machine == theirs.machine());
  }
  if (f.provenance()) ExpectSame(b.provenance.options, f.provenance()->options());
  if (f.calibration()) {
    ExpectSame(b.calibration.texts, f.calibration()->texts());
    EXPECT_EQ(b.calibration.held_out_tokens, f.calibration()->held_out_tokens());
  }
}

TEST(IndexReader, AcceptsOnlyWhatTheLibraryAcceptsAndReadsTheSame) {
  std::mt19937_64 random(17);
  const emoe_section index = FirstSection(Good());
  const uint8_t *good = Good().data() + index.offset;
  int accepted = 0, stricter = 0;
  for (int i = 0; i < 20000; ++i) {
    void *memory = std::malloc(index.length);
    std::memcpy(memory, good, index.length);
    auto *bytes = static_cast<uint8_t *>(memory);
    for (uint64_t changes = i == 0 ? 0 : 1 + random() % 4; changes > 0; --changes) {
      size_t at = random() % index.length;
      switch (random() % 3) {
        case 0: bytes[at] ^= static_cast<uint8_t>(1u << (random() % 8)); break;
        case 1: bytes[at] = static_cast<uint8_t>(random()); break;
        default:  // an offset or a size, to a nearby value
          at &= ~size_t{3};
          bytes[at] = static_cast<uint8_t>(bytes[at] + (random() % 9 - 4) * 4);
      }
    }
    std::vector<uint64_t> copy((index.length + 7) / 8);
    std::memcpy(copy.data(), memory, index.length);
    Bundle bundle;
    bool ours = ReadIndex(&memory, index.length, &bundle).ok();
    flatbuffers::Verifier verifier(reinterpret_cast<uint8_t *>(copy.data()), index.length);
    bool theirs = fb::VerifyBundleBuffer(verifier);
    ASSERT_TRUE(!ours || theirs) << "accepted what the library refuses, change " << i;
    if (ours) {
      ExpectSameIndex(bundle, *fb::GetBundle(copy.data()));
      ASSERT_FALSE(HasFailure()) << "change " << i;
    }
    accepted += ours;
    stricter += theirs && !ours;
    std::free(memory);
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(stricter, 4000);
}

TEST(OpenBundle, ReportsEachFailedAllocation) {
  MemoryProvider provider(Good().data(), Good().size());
  int failures = 0;
  for (int k = 0;; ++k) {
    Bundle bundle;
    allowedAllocations = k;
    Status status = OpenBundle(provider, &bundle);
    if (status.ok()) status = VerifyBundle(provider, bundle, nullptr, nullptr);
    allowedAllocations = -1;
    CloseBundle(&bundle);
    if (status.ok()) break;
    ASSERT_EQ(status.code, StatusCode::kBudget);
    ++failures;
  }
  EXPECT_EQ(failures, 3);  // index, tables, verify's block
}

// The k-th read fails.
class FailingProvider : public MemoryProvider {
 public:
  FailingProvider(int k) : MemoryProvider(Good().data(), Good().size()), left_(k) {}
  Status Read(uint64_t offset, void *out, size_t bytes) override {
    if (left_-- == 0) return Error(StatusCode::kIo, "reading the bundle failed at", offset, EIO);
    return MemoryProvider::Read(offset, out, bytes);
  }

 private:
  int left_;
};

TEST(OpenBundle, PassesOnEachFailedRead) {
  int failures = 0;
  for (int k = 0;; ++k) {
    FailingProvider provider(k);
    Bundle bundle;
    Status status = OpenBundle(provider, &bundle);
    if (status.ok()) status = VerifyBundle(provider, bundle, nullptr, nullptr);
    CloseBundle(&bundle);
    if (status.ok()) break;
    ASSERT_EQ(status.code, StatusCode::kIo);
    ASSERT_EQ(status.detail2, static_cast<uint64_t>(EIO));
    ++failures;
  }
  EXPECT_GT(failures, 20);  // header, paddings, index; then all of it again and every chunk
}

TEST(VerifyBundle, ReportsEveryByteAndNamesTheRecord) {
  std::vector<uint8_t> bytes = Good();
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  ASSERT_TRUE(OpenBundle(provider, &bundle).ok());
  uint64_t done = 0;
  auto progress = [](uint64_t now, void *user) { *static_cast<uint64_t *>(user) = now; };
  EXPECT_TRUE(VerifyBundle(provider, bundle, progress, &done).ok());
  EXPECT_EQ(done, bytes.size());
  bytes[bundle.experts.offset + bundle.moe_layers[1].records[2].offset + 5] ^= 1;
  Status status = VerifyBundle(provider, bundle, nullptr, nullptr);
  EXPECT_STREQ(status.what, "experts section: a record is damaged (mixture layer, expert)");
  EXPECT_EQ(status.detail, 1u);
  EXPECT_EQ(status.detail2, 2u);
  CloseBundle(&bundle);
}

}  // namespace
}  // namespace emoe::rt
