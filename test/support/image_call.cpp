#include "test/support/image_call.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "schema/kernel_abi.h"

namespace emoe::test {

namespace {

constexpr uint8_t kFill = 0xA5;

struct Mapping {
  char *base = nullptr;
  size_t bytes = 0;
  ~Mapping() {
    if (base) {
      munmap(base, bytes);
    }
  }
  bool map(size_t size, int protection) {
    void *p = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base = p == MAP_FAILED ? nullptr : static_cast<char *>(p);
    bytes = size;
    return base;
  }
};

size_t roundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

std::string load(const std::vector<uint8_t> &elf, Mapping &image) {
  Elf64_Ehdr header;
  if (elf.size() < sizeof(header)) {
    return "the image is too short";
  }
  std::memcpy(&header, elf.data(), sizeof(header));
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  std::memcpy(segments.data(), elf.data() + header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
  size_t end = 0, page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type == PT_LOAD) {
      end = std::max<size_t>(end, segment.p_vaddr + segment.p_memsz);
    }
  }
  if (!image.map(roundUp(end, page), PROT_READ | PROT_WRITE)) {
    return "no memory for the image";
  }
  const Elf64_Dyn *dynamic = nullptr;
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type == PT_LOAD) {
      std::memcpy(image.base + segment.p_vaddr, elf.data() + segment.p_offset, segment.p_filesz);
    }
  }
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type == PT_DYNAMIC) {
      dynamic = reinterpret_cast<const Elf64_Dyn *>(image.base + segment.p_vaddr);
    }
  }
  uint64_t rela = 0, relaBytes = 0;
  for (; dynamic && dynamic->d_tag != DT_NULL; ++dynamic) {
    switch (dynamic->d_tag) {
    case DT_RELA: rela = dynamic->d_un.d_ptr; break;
    case DT_RELASZ: relaBytes = dynamic->d_un.d_val; break;
    case DT_NEEDED: return "the image needs a library";
    case DT_JMPREL: case DT_REL: case DT_TEXTREL: case DT_INIT: case DT_INIT_ARRAY:
      return "an unexpected dynamic entry";
    default: break;
    }
  }
  for (uint64_t i = 0; i < relaBytes / sizeof(Elf64_Rela); ++i) {
    const auto *entry = reinterpret_cast<const Elf64_Rela *>(image.base + rela) + i;
    uint32_t type = ELF64_R_TYPE(entry->r_info);
    if (type != (header.e_machine == EM_AARCH64 ? uint32_t(R_AARCH64_RELATIVE) : uint32_t(R_X86_64_RELATIVE))) {
      return "a relocation that is not relative";
    }
    uint64_t value = reinterpret_cast<uint64_t>(image.base) + entry->r_addend;
    std::memcpy(image.base + entry->r_offset, &value, sizeof(value));
  }
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type != PT_LOAD) {
      continue;
    }
    if ((segment.p_flags & PF_W) && (segment.p_flags & PF_X)) {
      return "a segment is writable and executable";
    }
    int protection = PROT_READ | (segment.p_flags & PF_W ? PROT_WRITE : 0) | (segment.p_flags & PF_X ? PROT_EXEC : 0);
    size_t low = segment.p_vaddr / page * page;
    if (mprotect(image.base + low, roundUp(segment.p_vaddr + segment.p_memsz, page) - low, protection) != 0) {
      return "mprotect failed";
    }
  }
  __builtin___clear_cache(image.base, image.base + image.bytes);
  return "";
}

// Memory whose last 64-byte unit ends at a page that cannot be touched; so does the page before.
struct Guarded {
  Mapping mapping;
  char *data = nullptr;
  size_t size = 0, page = 0;

  bool place(const std::vector<uint8_t> &bytes) {
    page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size = bytes.size();
    size_t inner = roundUp(size, page);
    if (!mapping.map(inner + 2 * page, PROT_READ | PROT_WRITE)) {
      return false;
    }
    std::memset(mapping.base, kFill, mapping.bytes);
    data = mapping.base + page + inner - roundUp(size, 64);
    std::memcpy(data, bytes.data(), size);
    return mprotect(mapping.base, page, PROT_NONE) == 0 &&
           mprotect(mapping.base + page + inner, page, PROT_NONE) == 0;
  }
  bool intact() const {
    const char *end = mapping.base + mapping.bytes - page;
    for (const char *p = mapping.base + page; p < end; ++p) {
      if ((p < data || p >= data + size) && static_cast<uint8_t>(*p) != kFill) {
        return false;
      }
    }
    return true;
  }
};

} // namespace

std::string callKernel(const std::vector<uint8_t> &elf, KernelCall &call) {
  Mapping image;
  if (std::string problem = load(elf, image); !problem.empty()) {
    return problem;
  }
  emoe_kernel_args args = {};
  std::vector<Guarded> memory(call.operands.size());
  for (size_t i = 0; i < memory.size(); ++i) {
    if (!call.operands[i].empty()) {
      if (!memory[i].place(call.operands[i])) {
        return "no memory for an operand";
      }
      args.operand[i] = memory[i].data;
    }
  }
  args.tokens = call.tokens;
  args.position = call.position;
  args.capacity = call.capacity;
  args.source = call.source;
  args.rows_in = call.rowsIn.empty() ? nullptr : call.rowsIn.data();
  args.rows_out = call.rowsOut.empty() ? nullptr : call.rowsOut.data();
  auto kernel = reinterpret_cast<emoe_kernel_fn>(image.base + call.entry);
  kernel(&args, call.firstTile, call.lastTile);
  for (size_t i = 0; i < memory.size(); ++i) {
    if (call.operands[i].empty()) {
      continue;
    }
    if (!memory[i].intact()) {
      return "the kernel wrote outside operand " + std::to_string(i);
    }
    std::memcpy(call.operands[i].data(), memory[i].data, memory[i].size);
  }
  return "";
}

std::vector<uint8_t> serialise(const KernelCall &call) {
  std::vector<uint8_t> out;
  auto number = [&](uint64_t value) {
    const auto *p = reinterpret_cast<const uint8_t *>(&value);
    out.insert(out.end(), p, p + sizeof(value));
  };
  auto blob = [&](const void *data, size_t bytes) {
    number(bytes);
    const auto *p = static_cast<const uint8_t *>(data);
    out.insert(out.end(), p, p + bytes);
  };
  for (int64_t value : {int64_t(call.entry), call.tokens, call.position, call.capacity, call.source, call.firstTile,
                        call.lastTile}) {
    number(static_cast<uint64_t>(value));
  }
  blob(call.rowsIn.data(), 4 * call.rowsIn.size());
  blob(call.rowsOut.data(), 4 * call.rowsOut.size());
  number(call.operands.size());
  for (const auto &operand : call.operands) {
    blob(operand.data(), operand.size());
  }
  return out;
}

KernelCall deserialise(const std::vector<uint8_t> &bytes) {
  KernelCall call;
  size_t at = 0;
  auto number = [&] {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    at += sizeof(value);
    return value;
  };
  auto blob = [&](auto &out) {
    size_t size = number();
    out.resize(size / sizeof(out[0]));
    if (size) {
      std::memcpy(out.data(), bytes.data() + at, size);
    }
    at += size;
  };
  call.entry = number();
  for (int64_t *field : {&call.tokens, &call.position, &call.capacity, &call.source, &call.firstTile, &call.lastTile}) {
    *field = static_cast<int64_t>(number());
  }
  blob(call.rowsIn);
  blob(call.rowsOut);
  call.operands.resize(number());
  for (auto &operand : call.operands) {
    blob(operand);
  }
  return call;
}

bool readFile(const std::string &path, std::vector<uint8_t> &out) {
  FILE *file = std::fopen(path.c_str(), "rb");
  if (!file) {
    return false;
  }
  out.clear();
  uint8_t buffer[65536];
  while (size_t n = std::fread(buffer, 1, sizeof(buffer), file)) {
    out.insert(out.end(), buffer, buffer + n);
  }
  return std::fclose(file) == 0;
}

bool writeFile(const std::string &path, const std::vector<uint8_t> &bytes) {
  FILE *file = std::fopen(path.c_str(), "wb");
  if (!file) {
    return false;
  }
  bool good = bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  return std::fclose(file) == 0 && good;
}

} // namespace emoe::test
