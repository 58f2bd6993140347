// The loader on an image that is made here byte by byte, and on everything that can be wrong with it.
#include "runtime/image/image.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace emoe::rt {
namespace {

constexpr uint64_t kStep = 65536;  // segments are apart by the largest page there is
constexpr uint64_t kCode = kStep, kData = 2 * kStep;

// Three segments: headers, dynamic section, relocation and symbols; code; a pointer to itself. The one kernel stores
// the relocated pointer to operand 0.
struct TestElf {
  Elf64_Ehdr header = {};
  Elf64_Phdr segments[8] = {};
  Elf64_Dyn dynamic[8] = {};
  Elf64_Rela relocation = {};
  Elf64_Sym symbols[2] = {};
  uint32_t hash[4] = {1, 2, 0, 0};  // nbucket, nchain
};

uint64_t At(const void *field, const TestElf &elf) {
  return static_cast<uint64_t>(static_cast<const char *>(field) - reinterpret_cast<const char *>(&elf));
}

TestElf GoodElf() {
  TestElf e;
  std::memcpy(e.header.e_ident, ELFMAG, SELFMAG);
  e.header.e_ident[EI_CLASS] = ELFCLASS64;
  e.header.e_ident[EI_DATA] = ELFDATA2LSB;
  e.header.e_ident[EI_VERSION] = EV_CURRENT;
  e.header.e_type = ET_DYN;
  e.header.e_machine = CpuMachine() == EMOE_MACHINE_X86_64 ? EM_X86_64 : EM_AARCH64;
  e.header.e_version = EV_CURRENT;
  e.header.e_phoff = At(e.segments, e);
  e.header.e_ehsize = sizeof(Elf64_Ehdr);
  e.header.e_phentsize = sizeof(Elf64_Phdr);
  e.header.e_phnum = 5;
  e.segments[0] = {PT_LOAD, PF_R, 0, 0, 0, sizeof(TestElf), sizeof(TestElf), kStep};
  e.segments[1] = {PT_LOAD, PF_R | PF_X, kCode, kCode, kCode, 64, 64, kStep};
  e.segments[2] = {PT_LOAD, PF_R | PF_W, kData, kData, kData, 8, 64, kStep};
  e.segments[3] = {PT_DYNAMIC, PF_R, At(e.dynamic, e), At(e.dynamic, e), 0, sizeof(e.dynamic), sizeof(e.dynamic), 8};
  e.segments[4] = {PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 0};
  e.dynamic[0] = {DT_RELA, {At(&e.relocation, e)}};
  e.dynamic[1] = {DT_RELASZ, {sizeof(Elf64_Rela)}};
  e.dynamic[2] = {DT_RELAENT, {sizeof(Elf64_Rela)}};
  e.dynamic[3] = {DT_SYMTAB, {At(e.symbols, e)}};
  e.dynamic[4] = {DT_HASH, {At(e.hash, e)}};
  e.relocation = {kData, ELF64_R_INFO(0, CpuMachine() == EMOE_MACHINE_X86_64 ? R_X86_64_RELATIVE : R_AARCH64_RELATIVE),
                  static_cast<int64_t>(kData)};
  e.symbols[1].st_shndx = 5;
  return e;
}

std::vector<char> Bytes(const TestElf &elf) {
  std::vector<char> bytes(kData + 8);
  std::memcpy(bytes.data(), &elf, sizeof(elf));
#if defined(__x86_64__)
  // lea rax, [rip + kData - (kCode + 7)]; mov rax, [rax]; mov [rdi], rax -- to where operand[0] points -- ret
  const unsigned char code[] = {0x48, 0x8d, 0x05, 0xf9, 0xff, 0x00, 0x00, 0x48, 0x8b, 0x00,
                                0x48, 0x8b, 0x0f, 0x48, 0x89, 0x01, 0xc3};
#else
  // adrp x8, +16 pages; ldr x8, [x8]; ldr x9, [x0]; str x8, [x9]; ret
  const uint32_t code[] = {0x90000088, 0xf9400108, 0xf9400009, 0xf9000128, 0xd65f03c0};
#endif
  std::memcpy(bytes.data() + kCode, code, sizeof(code));
  return bytes;
}

const uint64_t kEntries[] = {kCode};

Image ImageOf(const std::vector<char> &bytes, Span<uint64_t> entries = {kEntries, 1}) {
  Image image{};
  image.machine = CpuMachine();
  image.bytes = bytes.size();
  image.entries = entries;
  return image;
}

Status Load(const std::vector<char> &bytes, LoadedImage *out, Span<uint64_t> entries = {kEntries, 1}) {
  return LoadImage(bytes.data(), bytes.size(), ImageOf(bytes, entries), out);
}

TEST(LoadImage, RelocatesAndRuns) {
  std::vector<char> bytes = Bytes(GoodElf());
  LoadedImage image;
  Status status = Load(bytes, &image);
  ASSERT_TRUE(status.ok()) << status.what;
  std::fill(bytes.begin(), bytes.end(), 0);  // the bytes may be released
  EXPECT_EQ(image.kernel_count, 1u);
  EXPECT_GE(image.bytes, kData + 64);
  void *stored = nullptr;
  emoe_kernel_args args = {};
  args.operand[0] = &stored;
  image.kernel(0)(&args, 0, 1);
  EXPECT_EQ(stored, static_cast<char *>(image.base) + kData);
  UnloadImage(&image);
  EXPECT_EQ(image.base, nullptr);
  UnloadImage(&image);  // harmless
}

TEST(LoadImageDeathTest, CodeIsNotWritableAndGapsAreNotAccessible) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::vector<char> bytes = Bytes(GoodElf());
  LoadedImage image;
  ASSERT_TRUE(Load(bytes, &image).ok());
  auto *base = static_cast<volatile char *>(image.base);
  base[kData] = 1;  // data is writable
  EXPECT_DEATH(base[kCode] = 1, "");
  EXPECT_DEATH(base[0] = 1, "");
  EXPECT_DEATH(base[kCode + static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + 8] = 1, "");
  UnloadImage(&image);
}

TEST(LoadImage, AcceptsRelro) {
  TestElf elf = GoodElf();
  elf.header.e_phnum = 6;
  elf.segments[5] = {PT_GNU_RELRO, PF_R, kData, kData, kData, 8, static_cast<uint64_t>(sysconf(_SC_PAGESIZE)), 1};
  LoadedImage image;
  EXPECT_TRUE(Load(Bytes(elf), &image).ok());
  UnloadImage(&image);
}

struct Case {
  const char *what;
  std::function<void(TestElf &)> change;
};

constexpr const char *kNotElf = "kernel image: not a 64-bit little-endian ELF file";
constexpr const char *kHeaders = "kernel image: malformed program headers (count)";
constexpr const char *kLeaves = "kernel image: a segment leaves the file (segment)";
constexpr const char *kAligned = "kernel image: a segment is not aligned (segment)";
constexpr const char *kFlags = "kernel image: a segment is writable and executable, or not readable (segment)";
constexpr const char *kOverlap = "kernel image: segments overlap or do not ascend from 0 (segment)";
constexpr const char *kMemory = "kernel image: takes more memory than the format allows (segment)";
constexpr const char *kKind = "kernel image: a kind of segment that kernels do not need (p_type)";
constexpr const char *kTag =
    "kernel image: needs what kernels may not: other libraries, initialisers, lazy binding (d_tag)";
constexpr const char *kRelocations = "kernel image: the relocations lie in no segment (address)";
constexpr const char *kOutside = "kernel image: a relocation outside writable segments (address)";
constexpr const char *kNotRelative = "kernel image: not a relative relocation (r_info)";
constexpr const char *kAddend = "kernel image: a relocation to an address outside it (addend)";

const Case kCases[] = {
    {"kernel image: not an ELF file", [](TestElf &e) { e.header.e_ident[0] = 0; }},
    {kNotElf, [](TestElf &e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }},
    {kNotElf, [](TestElf &e) { e.header.e_ident[EI_DATA] = ELFDATA2MSB; }},
    {kNotElf, [](TestElf &e) { e.header.e_ident[EI_OSABI] = ELFOSABI_FREEBSD; }},
    {kNotElf, [](TestElf &e) { e.header.e_version = 2; }},
    {"kernel image: not a shared object (e_type)", [](TestElf &e) { e.header.e_type = ET_EXEC; }},
    {"kernel image: for another machine than the index says (e_machine)",
     [](TestElf &e) { e.header.e_machine = EM_RISCV; }},
    {kHeaders, [](TestElf &e) { e.header.e_phnum = 0; }},
    {kHeaders, [](TestElf &e) { e.header.e_phnum = 17; }},
    {kHeaders, [](TestElf &e) { e.header.e_phentsize = 55; }},
    {kHeaders, [](TestElf &e) { e.header.e_phoff = UINT64_MAX - 7; }},
    {kHeaders, [](TestElf &e) { e.header.e_phoff = 65; }},
    {"kernel image: nothing to load", [](TestElf &e) { e.header.e_phoff += 3 * 56, e.header.e_phnum = 2; }},
    {kLeaves, [](TestElf &e) { e.segments[2].p_filesz = 9; }},
    {kLeaves, [](TestElf &e) { e.segments[2].p_offset = UINT64_MAX; }},
    {kLeaves, [](TestElf &e) { e.segments[2].p_filesz = 65; }},
    {kLeaves, [](TestElf &e) { e.segments[1].p_filesz = 0, e.segments[1].p_memsz = 0; }},
    {kAligned, [](TestElf &e) { e.segments[1].p_align = 0; }},
    {kAligned, [](TestElf &e) { e.segments[1].p_align = 12288; }},
    {kAligned, [](TestElf &e) { e.segments[1].p_align = 1u << 20; }},
    {kAligned, [](TestElf &e) { e.segments[1].p_vaddr += 8; }},
    {kFlags, [](TestElf &e) { e.segments[1].p_flags = PF_R | PF_W | PF_X; }},
    {kFlags, [](TestElf &e) { e.segments[1].p_flags = PF_X; }},
    {kFlags, [](TestElf &e) { e.segments[1].p_flags |= 1u << 20; }},
    {kOverlap, [](TestElf &e) { e.segments[0].p_vaddr = e.segments[0].p_offset = 0, e.segments[0].p_vaddr = kStep; }},
    {kOverlap, [](TestElf &e) { std::swap(e.segments[1], e.segments[2]); }},
    {kOverlap, [](TestElf &e) { e.segments[1].p_memsz = kStep + 1; }},
    {kMemory, [](TestElf &e) { e.segments[2].p_memsz = UINT64_MAX; }},
    {kMemory, [](TestElf &e) { e.segments[2].p_memsz = 1ull << 28; }},
    {kKind, [](TestElf &e) { e.segments[4].p_type = PT_INTERP; }},
    {kKind, [](TestElf &e) { e.segments[4].p_type = PT_TLS; }},
    {kKind, [](TestElf &e) { e.segments[4].p_type = 0x7fffffff; }},
    {"kernel image: wants an executable stack", [](TestElf &e) { e.segments[4].p_flags |= PF_X; }},
    {"kernel image: two dynamic sections", [](TestElf &e) { e.segments[4] = e.segments[3]; }},
    {"kernel image: relro does not start a writable segment (address)",
     [](TestElf &e) { e.segments[4] = e.segments[1], e.segments[4].p_type = PT_GNU_RELRO; }},
    {"kernel image: relro does not start a writable segment (address)",
     [](TestElf &e) {
       e.segments[4] = e.segments[2];
       e.segments[4].p_type = PT_GNU_RELRO;
       e.segments[4].p_memsz = UINT64_MAX;
     }},
    {"kernel image: the dynamic section lies in no segment (address)",
     [](TestElf &e) { e.segments[3].p_vaddr = 3 * kStep; }},
    {"kernel image: the dynamic section lies in no segment (address)",
     [](TestElf &e) { e.segments[3].p_filesz = UINT64_MAX - 15; }},
    {"kernel image: the dynamic section lies in no segment (address)", [](TestElf &e) { e.segments[3].p_filesz -= 1; }},
    {"kernel image: the dynamic section has no end", [](TestElf &e) { e.segments[3].p_filesz = 5 * 16; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_NEEDED; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_INIT; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_INIT_ARRAY; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_FINI_ARRAY; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_JMPREL; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_REL; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_TEXTREL; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = DT_RPATH; }},
    {kTag, [](TestElf &e) { e.dynamic[5].d_tag = -1; }},
    {"kernel image: dynamic flags that kernels do not need (DT_FLAGS)",
     [](TestElf &e) { e.dynamic[5] = {DT_FLAGS, {DF_TEXTREL}}; }},
    {"kernel image: dynamic flags that kernels do not need (DT_FLAGS_1)",
     [](TestElf &e) { e.dynamic[5] = {DT_FLAGS_1, {DF_1_GLOBAL}}; }},
    {"kernel image: relocations of another size (bytes)", [](TestElf &e) { e.dynamic[2].d_un.d_val = 16; }},
    {kRelocations, [](TestElf &e) { e.dynamic[1].d_un.d_val = 25; }},
    {kRelocations, [](TestElf &e) { e.dynamic[1].d_un.d_val = 24ull << 40; }},
    {kRelocations, [](TestElf &e) { e.dynamic[0].d_un.d_val = UINT64_MAX; }},
    {kRelocations, [](TestElf &e) { e.dynamic[0].d_un.d_val = kData; }},
    {kOutside, [](TestElf &e) { e.relocation.r_offset = kCode; }},
    {kOutside, [](TestElf &e) { e.relocation.r_offset = kData + 57; }},
    {kOutside, [](TestElf &e) { e.relocation.r_offset = UINT64_MAX - 3; }},
    {kNotRelative, [](TestElf &e) { e.relocation.r_info |= 1ull << 32; }},
    {kNotRelative, [](TestElf &e) { e.relocation.r_info = 1; }},
    {kAddend, [](TestElf &e) { e.relocation.r_addend = -1; }},
    {kAddend, [](TestElf &e) { e.relocation.r_addend = 1ll << 40; }},
    {"kernel image: an undefined symbol (symbol)", [](TestElf &e) { e.symbols[1].st_shndx = SHN_UNDEF; }},
    {"kernel image: the symbols lie in no segment (address)", [](TestElf &e) { e.hash[1] = UINT32_MAX; }},
    {"kernel image: the symbols lie in no segment (address)", [](TestElf &e) { e.dynamic[3].d_un.d_val = UINT64_MAX; }},
    {"kernel image: the symbol hash lies in no segment (address)",
     [](TestElf &e) { e.dynamic[4].d_un.d_val = UINT64_MAX - 3; }},
};

TEST(LoadImage, EachBrokenRuleIsNamed) {
  size_t number = 0;
  for (const Case &c : kCases) {
    SCOPED_TRACE("case " + std::to_string(number++) + ": " + c.what);
    TestElf elf = GoodElf();
    c.change(elf);
    LoadedImage image;
    Status status = Load(Bytes(elf), &image);
    EXPECT_EQ(status.code, StatusCode::kBadBundle);
    EXPECT_STREQ(status.what, c.what);
    EXPECT_EQ(image.base, nullptr);
    UnloadImage(&image);
  }
}

TEST(LoadImage, EntriesMustBeCode) {
  const std::vector<char> bytes = Bytes(GoodElf());
  for (uint64_t entry : {uint64_t{0}, kCode - 4, kCode + 64, kData, UINT64_MAX, UINT64_MAX - 3}) {
    const uint64_t entries[] = {kCode, entry};
    LoadedImage image;
    Status status = Load(bytes, &image, {entries, 2});
    EXPECT_EQ(status.code, StatusCode::kBadBundle) << entry;
    EXPECT_EQ(status.detail, 1u);
  }
}

TEST(LoadImage, EveryTruncationIsRefused) {
  const std::vector<char> bytes = Bytes(GoodElf());
  for (size_t length = 0; length < bytes.size(); length += length < sizeof(TestElf) + 8 ? 1 : 997) {
    std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<long>(length));
    LoadedImage image;
    ASSERT_EQ(Load(cut, &image).code, StatusCode::kBadBundle) << length;
  }
}

// What is accepted stays inside its mapping; sanitizers and the memory protection would tell.
TEST(LoadImage, MutatedHeadersNeverCrash) {
  std::mt19937_64 random(3);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    TestElf elf = GoodElf();
    auto *raw = reinterpret_cast<unsigned char *>(&elf);
    for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
      size_t at = random() % sizeof(elf);
      if (random() % 2) {
        raw[at] ^= static_cast<unsigned char>(1u << (random() % 8));
      } else {
        uint64_t value = random() % 3 == 0 ? UINT64_MAX - random() % 65536 : random() % (4 * kStep);
        std::memcpy(raw + at / 8 * 8, &value, 8);
      }
    }
    LoadedImage image;
    accepted += Load(Bytes(elf), &image).ok();
    UnloadImage(&image);
  }
  EXPECT_GT(accepted, 100);  // fields that do not matter
  EXPECT_LT(accepted, 15000);
}

TEST(ChooseImage, TakesTheBestThatRuns) {
  auto text = [](const char *name) { return Text{name, std::strlen(name)}; };
  Image images[3] = {};
  images[0].isa = text("basic");
  images[0].machine = CpuMachine();
  images[1].isa = text("all");
  images[1].machine = CpuMachine();
  images[1].features = CpuFeatures();
  images[2].isa = text("future");
  images[2].machine = CpuMachine();
  images[2].features = 1ull << 63;
  Bundle bundle;
  bundle.images = {images, 3};
  uint32_t index = 9;
  ASSERT_TRUE(ChooseImage(bundle, nullptr, &index).ok());
  EXPECT_EQ(index, 1u);
  ASSERT_TRUE(ChooseImage(bundle, "basic", &index).ok());
  EXPECT_EQ(index, 0u);
  Status status = ChooseImage(bundle, "future", &index);
  EXPECT_EQ(status.code, StatusCode::kUnsupported);
  EXPECT_EQ(status.detail, 1ull << 63);
  EXPECT_EQ(ChooseImage(bundle, "basi", &index).code, StatusCode::kUnsupported);
  bundle.images = {images + 2, 1};
  EXPECT_EQ(ChooseImage(bundle, nullptr, &index).code, StatusCode::kUnsupported);
  images[0].machine = 99;
  bundle.images = {images, 1};
  EXPECT_EQ(ChooseImage(bundle, nullptr, &index).code, StatusCode::kUnsupported);
}

// An image needs all features that it names: one bit that this CPU lacks is enough to pass it over, and of those that run
// the one with the most wins, wherever it stands.
TEST(ChooseImage, CountsFeatures) {
  constexpr uint64_t kAll = EMOE_CPU_AVX2 | EMOE_CPU_AVX512 | EMOE_CPU_AVX512_VNNI | EMOE_CPU_AVX_VNNI |
                            EMOE_CPU_NEON_DOTPROD | EMOE_CPU_NEON_I8MM;
  EXPECT_EQ(CpuFeatures() & ~kAll, 0u);
  for (uint64_t lacking = 1; lacking != 0; lacking <<= 1) {
    Image images[3] = {};
    images[0].machine = images[1].machine = images[2].machine = CpuMachine();
    images[0].features = CpuFeatures() | lacking;
    images[1].features = CpuFeatures();
    Bundle bundle;
    bundle.images = {images, 3};
    uint32_t index = 9;
    ASSERT_TRUE(ChooseImage(bundle, nullptr, &index).ok());
    if (CpuFeatures() & lacking) {
      EXPECT_LE(index, 1u);
    } else {
      EXPECT_EQ(index, CpuFeatures() == 0 ? 2u : 1u);
    }
  }
}

TEST(LoadImage, RefusesOtherMachinesAndSizes) {
  std::vector<char> bytes = Bytes(GoodElf());
  LoadedImage loaded;
  Image image = ImageOf(bytes);
  image.machine = 99;
  EXPECT_EQ(LoadImage(bytes.data(), bytes.size(), image, &loaded).code, StatusCode::kUnsupported);
  EXPECT_EQ(LoadImage(bytes.data(), bytes.size() - 1, ImageOf(bytes), &loaded).code, StatusCode::kUsage);
}

}  // namespace
}  // namespace emoe::rt
