// The image: what the runtime's loader may rely on.
#include "compiler/codegen/image.h"

#include <chrono>
#include <cstring>
#include <elf.h>

#include "gtest/gtest.h"
#include "mlir/IR/MLIRContext.h"
#include "schema/kernel_abi.h"

using namespace emoe;

namespace {

// One small kernel of each family that needs no packed weight, in two sizes.
std::vector<KernelSpec> someKernels() {
  std::vector<KernelSpec> specs;
  for (int64_t k : {40, 128}) {
    KernelSpec norm;
    norm.family = KernelFamily::Norm;
    norm.k = k;
    norm.heads = 2;
    norm.epsilon = 1e-6f;
    specs.push_back(norm);
    KernelSpec quantize;
    quantize.family = KernelFamily::Quantize;
    quantize.k = k;
    specs.push_back(quantize);
    KernelSpec rotary;
    rotary.family = KernelFamily::Rotary;
    rotary.heads = 2;
    rotary.headDim = k / 2;
    rotary.rotated = k / 2;
    specs.push_back(rotary);
    KernelSpec append;
    append.family = KernelFamily::KvAppend;
    append.kvHeads = 2;
    append.headDim = k / 2;
    specs.push_back(append);
    KernelSpec attention = append;
    attention.family = KernelFamily::Attention;
    attention.heads = 4;
    attention.softcap = 30;
    specs.push_back(attention);
    KernelSpec route;
    route.family = KernelFamily::Route;
    route.n = k;
    route.topK = 4;
    route.renormalise = true;
    specs.push_back(route);
    KernelSpec combine;
    combine.family = KernelFamily::Combine;
    combine.k = k;
    combine.topK = 4;
    specs.push_back(combine);
    for (KernelFamily family : {KernelFamily::Add, KernelFamily::Mul, KernelFamily::Activate}) {
      KernelSpec spec;
      spec.family = family;
      spec.k = k;
      specs.push_back(spec);
    }
  }
  return specs;
}

class ImageTest : public ::testing::TestWithParam<size_t> {};

TEST_P(ImageTest, IsStrictAndDeterministic) {
  const Target &target = allTargets()[GetParam()];
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  std::vector<KernelSpec> specs = someKernels();
  auto start = std::chrono::steady_clock::now();
  absl::StatusOr<KernelImage> image = compileImage(specs, target, context, {});
  ASSERT_TRUE(image.ok()) << image.status();
  RecordProperty("milliseconds", static_cast<int>(std::chrono::duration<double, std::milli>(
                                     std::chrono::steady_clock::now() - start).count()));
  ASSERT_EQ(image->entries.size(), specs.size());

  Elf64_Ehdr header;
  std::memcpy(&header, image->elf.data(), sizeof(header));
  EXPECT_EQ(header.e_type, ET_DYN);
  EXPECT_EQ(header.e_machine, target.machine == EMOE_MACHINE_AARCH64 ? EM_AARCH64 : EM_X86_64);
  uint64_t pageSize = target.machine == EMOE_MACHINE_AARCH64 ? 16384 : 4096;
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  std::memcpy(segments.data(), image->elf.data() + header.e_phoff, segments.size() * sizeof(Elf64_Phdr));
  std::vector<bool> executable(image->entries.size(), false);
  for (const Elf64_Phdr &segment : segments) {
    EXPECT_NE(segment.p_type, uint32_t(PT_INTERP));
    EXPECT_LE(segment.p_offset + segment.p_filesz, image->elf.size());
    if (segment.p_type == PT_LOAD) {
      EXPECT_FALSE((segment.p_flags & PF_W) && (segment.p_flags & PF_X));
      EXPECT_EQ(segment.p_vaddr % pageSize, segment.p_offset % pageSize);
      for (size_t i = 0; i < executable.size(); ++i) {
        executable[i] = executable[i] || ((segment.p_flags & PF_X) && image->entries[i] >= segment.p_vaddr &&
                                          image->entries[i] < segment.p_vaddr + segment.p_filesz);
      }
    }
    if (segment.p_type == PT_DYNAMIC) {
      for (uint64_t at = segment.p_offset; at < segment.p_offset + segment.p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        std::memcpy(&entry, image->elf.data() + at, sizeof(entry));
        for (int64_t refused : {DT_NEEDED, DT_RELA, DT_REL, DT_JMPREL, DT_TEXTREL, DT_INIT, DT_INIT_ARRAY}) {
          EXPECT_NE(entry.d_tag, refused) << "kernels are position-independent and alone";
        }
      }
    }
    if (segment.p_type == PT_GNU_STACK) {
      EXPECT_FALSE(segment.p_flags & PF_X);
    }
  }
  for (size_t i = 0; i < executable.size(); ++i) {
    EXPECT_TRUE(executable[i]) << kernelName(specs[i]);
  }

  mlir::MLIRContext other(mlir::MLIRContext::Threading::DISABLED);
  absl::StatusOr<KernelImage> again = compileImage(specs, target, other, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(image->elf, again->elf);
  EXPECT_EQ(image->entries, again->entries);
}

INSTANTIATE_TEST_SUITE_P(Targets, ImageTest, ::testing::Range<size_t>(0, allTargets().size()),
                         [](const ::testing::TestParamInfo<size_t> &info) {
                           std::string name = allTargets()[info.param].name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Targets, AreFoundByName) {
  for (const Target &target : allTargets()) {
    auto found = findTarget(target.name);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(*found, &target);
  }
  EXPECT_TRUE(findTarget("host").ok());
  auto missing = findTarget("m68k");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("x86-64-v3"), absl::string_view::npos) << missing.status();
}

TEST(Image, EqualKernelsShareOneFunction) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  KernelSpec spec;
  spec.family = KernelFamily::Add;
  spec.k = 64;
  auto image = compileImage({spec, spec}, allTargets()[0], context, {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->entries[0], image->entries[1]);
}

} // namespace
