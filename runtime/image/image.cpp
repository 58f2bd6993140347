// The loader reads the ELF bytes with bounds, copies segments into anonymous memory, applies relative relocations,
// and only then makes code executable. Whatever a kernel image does not need is refused, not skipped.
#include "runtime/image/image.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/bundle/checked.h"
#include "schema/limits.h"

namespace emoe::rt {
namespace {

constexpr uint32_t kMaxSegments = 16;
constexpr uint64_t kMaxAlign = 65536;

Status Bad(const char *what, uint64_t detail = 0) { return Error(StatusCode::kBadBundle, what, detail); }

class Elf {
 public:
  Elf(const void *bytes, size_t size) : bytes_(static_cast<const char *>(bytes)), size_(size) {}

  Status CheckHeader(uint16_t machine);
  Status ReadSegments(uint64_t page);
  Status ReadDynamic();
  Status CheckRelocations() const;
  Status CheckEntries(Span<uint64_t> entries) const;

  uint64_t span() const { return span_; }
  void CopyTo(char *base) const;
  // Makes [vaddr, vaddr + bytes) of each segment what its flags say, and the gaps inaccessible.
  bool Protect(char *base, uint64_t page) const;

 private:
  template <typename T>
  T Load(uint64_t offset) const {
    T value;
    memcpy(&value, bytes_ + offset, sizeof(T));
    return value;
  }
  // The file offset of [vaddr, vaddr + bytes), which must lie in the file's part of one segment.
  bool InFile(uint64_t vaddr, uint64_t bytes, uint64_t *offset) const {
    for (uint32_t i = 0; i < load_count_; ++i) {
      const Elf64_Phdr &s = loads_[i];
      if (vaddr >= s.p_vaddr && FitsIn(vaddr - s.p_vaddr, bytes, s.p_filesz)) {
        *offset = s.p_offset + (vaddr - s.p_vaddr);
        return true;
      }
    }
    return false;
  }
  Status AddLoad(const Elf64_Phdr &segment, uint64_t page);
  Status CheckRelro() const;
  Status CheckSymbols() const;

  const char *bytes_;
  uint64_t size_;
  Elf64_Ehdr header_ = {};
  Elf64_Phdr loads_[kMaxSegments] = {};
  uint32_t load_count_ = 0;
  Elf64_Phdr dynamic_ = {}, relro_ = {};
  bool has_dynamic_ = false, has_relro_ = false;
  uint64_t span_ = 0;  // end of the last segment, a multiple of the page
  uint64_t rela_ = 0, rela_bytes_ = 0, rela_offset_ = 0;
  uint64_t symbols_ = 0, hash_ = 0, gnu_hash_ = 0;
};

Status Elf::CheckHeader(uint16_t machine) {
  if (size_ < sizeof(header_)) return Bad("kernel image: too short (bytes)", size_);
  header_ = Load<Elf64_Ehdr>(0);
  const unsigned char *ident = header_.e_ident;
  if (memcmp(ident, ELFMAG, SELFMAG) != 0) return Bad("kernel image: not an ELF file");
  if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT ||
      header_.e_version != EV_CURRENT || (ident[EI_OSABI] != ELFOSABI_NONE && ident[EI_OSABI] != ELFOSABI_GNU)) {
    return Bad("kernel image: not a 64-bit little-endian ELF file");
  }
  if (header_.e_type != ET_DYN) return Bad("kernel image: not a shared object (e_type)", header_.e_type);
  if (header_.e_machine != (machine == EMOE_MACHINE_X86_64 ? EM_X86_64 : EM_AARCH64)) {
    return Bad("kernel image: for another machine than the index says (e_machine)", header_.e_machine);
  }
  if (header_.e_ehsize != sizeof(Elf64_Ehdr) || header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_phnum == 0 ||
      header_.e_phnum > kMaxSegments || header_.e_phoff % 8 != 0 ||
      !FitsIn(header_.e_phoff, header_.e_phnum * sizeof(Elf64_Phdr), size_)) {
    return Bad("kernel image: malformed program headers (count)", header_.e_phnum);
  }
  return OkStatus();
}

Status Elf::AddLoad(const Elf64_Phdr &s, uint64_t page) {
  uint64_t end = 0;
  if (s.p_filesz > s.p_memsz || s.p_memsz == 0 || !FitsIn(s.p_offset, s.p_filesz, size_)) {
    return Bad("kernel image: a segment leaves the file (segment)", load_count_);
  }
  if (s.p_align < 4096 || s.p_align > kMaxAlign || (s.p_align & (s.p_align - 1)) != 0 ||
      (s.p_vaddr - s.p_offset) % s.p_align != 0) {
    return Bad("kernel image: a segment is not aligned (segment)", load_count_);
  }
  if (s.p_align < page) {
    return Error(StatusCode::kUnsupported, "kernel image: made for smaller pages than this system's (bytes)", s.p_align,
                 page);
  }
  if ((s.p_flags & ~static_cast<uint32_t>(PF_R | PF_W | PF_X)) != 0 || (s.p_flags & PF_R) == 0 ||
      (s.p_flags & (PF_W | PF_X)) == (PF_W | PF_X)) {
    return Bad("kernel image: a segment is writable and executable, or not readable (segment)", load_count_);
  }
  // Segments ascend from address 0 and share no page.
  if (load_count_ == 0 ? s.p_vaddr != 0 : s.p_vaddr < span_) {
    return Bad("kernel image: segments overlap or do not ascend from 0 (segment)", load_count_);
  }
  if (!CheckedAdd(s.p_vaddr, s.p_memsz, &end) || end > EMOE_LIMIT_IMAGE_BYTES || !CheckedRoundUp(end, page, &span_)) {
    return Bad("kernel image: takes more memory than the format allows (segment)", load_count_);
  }
  loads_[load_count_++] = s;
  return OkStatus();
}

Status Elf::ReadSegments(uint64_t page) {
  for (uint32_t i = 0; i < header_.e_phnum; ++i) {
    const Elf64_Phdr segment = Load<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr));
    switch (segment.p_type) {
      case PT_LOAD:
        RT_RETURN_IF_ERROR(AddLoad(segment, page));
        break;
      case PT_DYNAMIC:
        if (has_dynamic_) return Bad("kernel image: two dynamic sections");
        dynamic_ = segment;
        has_dynamic_ = true;
        break;
      case PT_GNU_RELRO:
        if (has_relro_) return Bad("kernel image: two relro ranges");
        relro_ = segment;
        has_relro_ = true;
        break;
      case PT_GNU_STACK:
        if (segment.p_flags & PF_X) return Bad("kernel image: wants an executable stack");
        break;
      case PT_NULL:
      case PT_PHDR:
      case PT_NOTE:
      case PT_GNU_EH_FRAME:
      case PT_GNU_PROPERTY:
        break;  // not needed to run
      default:
        return Bad("kernel image: a kind of segment that kernels do not need (p_type)", segment.p_type);
    }
  }
  if (load_count_ == 0) return Bad("kernel image: nothing to load");
  return CheckRelro();
}

// Relro is the start of a writable segment.
Status Elf::CheckRelro() const {
  if (!has_relro_) return OkStatus();
  for (uint32_t i = 0; i < load_count_; ++i) {
    const Elf64_Phdr &s = loads_[i];
    // Its size may be rounded up to the end of the segment's last page.
    if ((s.p_flags & PF_W) && relro_.p_vaddr == s.p_vaddr && FitsIn(s.p_vaddr, relro_.p_memsz, span_) &&
        (i + 1 == load_count_ || FitsIn(s.p_vaddr, relro_.p_memsz, loads_[i + 1].p_vaddr))) {
      return OkStatus();
    }
  }
  return Bad("kernel image: relro does not start a writable segment (address)", relro_.p_vaddr);
}

Status Elf::ReadDynamic() {
  if (!has_dynamic_) return OkStatus();
  uint64_t offset = 0;
  if (dynamic_.p_filesz % sizeof(Elf64_Dyn) != 0 || !InFile(dynamic_.p_vaddr, dynamic_.p_filesz, &offset)) {
    return Bad("kernel image: the dynamic section lies in no segment (address)", dynamic_.p_vaddr);
  }
  bool ended = false;
  for (uint64_t at = 0; at < dynamic_.p_filesz && !ended; at += sizeof(Elf64_Dyn)) {
    const Elf64_Dyn entry = Load<Elf64_Dyn>(offset + at);
    const uint64_t value = entry.d_un.d_val;
    switch (entry.d_tag) {
      case DT_NULL: ended = true; break;
      case DT_RELA: rela_ = value; break;
      case DT_RELASZ: rela_bytes_ = value; break;
      case DT_RELAENT:
        if (value != sizeof(Elf64_Rela)) return Bad("kernel image: relocations of another size (bytes)", value);
        break;
      case DT_SYMTAB: symbols_ = value; break;
      case DT_HASH: hash_ = value; break;
      case DT_GNU_HASH: gnu_hash_ = value; break;
      case DT_FLAGS:
        if (value & ~static_cast<uint64_t>(DF_SYMBOLIC | DF_BIND_NOW)) {
          return Bad("kernel image: dynamic flags that kernels do not need (DT_FLAGS)", value);
        }
        break;
      case DT_FLAGS_1:
        if (value & ~static_cast<uint64_t>(DF_1_NOW)) {
          return Bad("kernel image: dynamic flags that kernels do not need (DT_FLAGS_1)", value);
        }
        break;
      case DT_SYMENT:
      case DT_STRTAB:
      case DT_STRSZ:
      case DT_SONAME:
      case DT_SYMBOLIC:
      case DT_BIND_NOW:
      case DT_RELACOUNT:
        break;
      default:
        return Bad("kernel image: needs what kernels may not: other libraries, initialisers, lazy binding (d_tag)",
                   static_cast<uint64_t>(entry.d_tag));
    }
  }
  if (!ended) return Bad("kernel image: the dynamic section has no end");
  if (rela_bytes_ != 0 && (rela_bytes_ % sizeof(Elf64_Rela) != 0 || !InFile(rela_, rela_bytes_, &rela_offset_))) {
    return Bad("kernel image: the relocations lie in no segment (address)", rela_);
  }
  return CheckSymbols();
}

// No symbol may be undefined. Relocations use none, so that this only gives a better message.
Status Elf::CheckSymbols() const {
  uint64_t offset = 0, count = 0;
  if (hash_ != 0) {
    if (!InFile(hash_, 8, &offset)) return Bad("kernel image: the symbol hash lies in no segment (address)", hash_);
    count = Load<uint32_t>(offset + 4);  // nchain, the number of symbols
  } else if (gnu_hash_ != 0) {
    if (!InFile(gnu_hash_, 8, &offset)) return Bad("kernel image: the symbol hash lies in no segment (address)", gnu_hash_);
    count = Load<uint32_t>(offset + 4);  // undefined symbols come before those that are hashed
  }
  if (count == 0) return OkStatus();
  if (!InFile(symbols_, count * sizeof(Elf64_Sym), &offset)) {
    return Bad("kernel image: the symbols lie in no segment (address)", symbols_);
  }
  for (uint64_t i = 1; i < count; ++i) {
    if (Load<Elf64_Sym>(offset + i * sizeof(Elf64_Sym)).st_shndx == SHN_UNDEF) {
      return Bad("kernel image: an undefined symbol (symbol)", i);
    }
  }
  return OkStatus();
}

Status Elf::CheckRelocations() const {
  const uint64_t relative = header_.e_machine == EM_X86_64 ? R_X86_64_RELATIVE : R_AARCH64_RELATIVE;
  for (uint64_t at = 0; at < rela_bytes_; at += sizeof(Elf64_Rela)) {
    const Elf64_Rela rela = Load<Elf64_Rela>(rela_offset_ + at);
    if (rela.r_info != ELF64_R_INFO(0, relative)) return Bad("kernel image: not a relative relocation (r_info)", rela.r_info);
    bool writable = false;
    for (uint32_t i = 0; i < load_count_ && !writable; ++i) {
      const Elf64_Phdr &s = loads_[i];
      writable = (s.p_flags & PF_W) && rela.r_offset >= s.p_vaddr &&
                 FitsIn(rela.r_offset - s.p_vaddr, sizeof(uint64_t), s.p_memsz);
    }
    if (!writable) return Bad("kernel image: a relocation outside writable segments (address)", rela.r_offset);
    if (rela.r_addend < 0 || static_cast<uint64_t>(rela.r_addend) > span_) {
      return Bad("kernel image: a relocation to an address outside it (addend)", static_cast<uint64_t>(rela.r_addend));
    }
  }
  return OkStatus();
}

Status Elf::CheckEntries(Span<uint64_t> entries) const {
  const uint64_t unit = header_.e_machine == EM_AARCH64 ? 4 : 1;
  for (size_t i = 0; i < entries.size; ++i) {
    bool code = false;
    for (uint32_t j = 0; j < load_count_ && !code; ++j) {
      const Elf64_Phdr &s = loads_[j];
      code = (s.p_flags & PF_X) && entries[i] >= s.p_vaddr && FitsIn(entries[i] - s.p_vaddr, unit, s.p_filesz);
    }
    if (!code || entries[i] % unit != 0) return Bad("kernel image: a kernel's entry is not in its code (kernel)", i);
  }
  return OkStatus();
}

void Elf::CopyTo(char *base) const {
  for (uint32_t i = 0; i < load_count_; ++i) {
    const Elf64_Phdr &s = loads_[i];
    if (s.p_filesz > 0) memcpy(base + s.p_vaddr, bytes_ + s.p_offset, s.p_filesz);
  }
  for (uint64_t at = 0; at < rela_bytes_; at += sizeof(Elf64_Rela)) {
    const Elf64_Rela rela = Load<Elf64_Rela>(rela_offset_ + at);
    const uint64_t address = reinterpret_cast<uint64_t>(base) + static_cast<uint64_t>(rela.r_addend);
    memcpy(base + rela.r_offset, &address, sizeof(address));
  }
}

bool Elf::Protect(char *base, uint64_t page) const {
  uint64_t end = 0;  // of what has its protection
  for (uint32_t i = 0; i < load_count_; ++i) {
    const Elf64_Phdr &s = loads_[i];
    const uint64_t first = s.p_vaddr / page * page, last = (s.p_vaddr + s.p_memsz + page - 1) / page * page;
    if (first > end && mprotect(base + end, first - end, PROT_NONE) != 0) return false;
    const int protection = PROT_READ | ((s.p_flags & PF_W) ? PROT_WRITE : 0) | ((s.p_flags & PF_X) ? PROT_EXEC : 0);
    if (mprotect(base + first, last - first, protection) != 0) return false;
    if (s.p_flags & PF_X) __builtin___clear_cache(base + s.p_vaddr, base + s.p_vaddr + s.p_filesz);
    end = last;
  }
  // A last page that relro shares with data stays writable.
  const uint64_t relro = relro_.p_vaddr / page * page, relro_end = (relro_.p_vaddr + relro_.p_memsz) / page * page;
  return relro_end <= relro || mprotect(base + relro, relro_end - relro, PROT_READ) == 0;
}

}  // namespace

Status LoadImage(const void *bytes, size_t size, const Image &image, LoadedImage *out) {
  if (size != image.bytes) return Error(StatusCode::kUsage, "these are not the image's bytes (bytes)", size, image.bytes);
  if (image.machine != CpuMachine()) {
    return Error(StatusCode::kUnsupported, "kernel image: for another machine than this one (machine)", image.machine);
  }
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  Elf elf(bytes, size);
  RT_RETURN_IF_ERROR(elf.CheckHeader(image.machine));
  RT_RETURN_IF_ERROR(elf.ReadSegments(page));
  RT_RETURN_IF_ERROR(elf.ReadDynamic());
  RT_RETURN_IF_ERROR(elf.CheckRelocations());
  RT_RETURN_IF_ERROR(elf.CheckEntries(image.entries));

  void *base = mmap(nullptr, elf.span(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return Error(StatusCode::kBudget, "no memory for the kernel image (bytes)", elf.span());
  elf.CopyTo(static_cast<char *>(base));
  if (!elf.Protect(static_cast<char *>(base), page)) {
    munmap(base, elf.span());
    return Error(StatusCode::kUnsupported, "the system does not let this process make memory executable");
  }
  out->base = base;
  out->bytes = elf.span();
  out->kernel_count = static_cast<uint32_t>(image.entries.size);
  out->entries = image.entries.data;
  return OkStatus();
}

void UnloadImage(LoadedImage *image) {
  if (image->base != nullptr) munmap(image->base, image->bytes);
  *image = LoadedImage();
}

}  // namespace emoe::rt
