#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compiler/codegen/object.h"
#include "lld/Common/Driver.h"
#include "schema/kernel_abi.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Object/ELF.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

LLD_HAS_DRIVER(elf)

namespace emoe {

namespace {

using Elf = llvm::object::ELF64LEFile;

// Names that the object uses and does not define: a call that LLVM made out of an operation.
absl::Status checkDefined(llvm::StringRef object, const Target &target) {
  auto file = llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(object, "kernels.o"));
  if (!file) {
    return absl::InternalError(absl::StrCat("object code for ", target.name, ": ", toString(file.takeError())));
  }
  std::vector<std::string> missing;
  for (const llvm::object::SymbolRef &symbol : (*file)->symbols()) {
    llvm::Expected<uint32_t> flags = symbol.getFlags();
    llvm::Expected<llvm::StringRef> name = symbol.getName();
    if (!flags || !name) {
      llvm::consumeError(flags.takeError());
      llvm::consumeError(name.takeError());
      return absl::InternalError(absl::StrCat("object code for ", target.name, " has an unreadable symbol"));
    }
    if ((*flags & llvm::object::SymbolRef::SF_Undefined) && !name->empty()) {
      missing.push_back(name->str());
    }
  }
  if (!missing.empty()) {
    return absl::InternalError(
        absl::StrCat("kernels for ", target.name, " call functions that no image has: ", absl::StrJoin(missing, ", ")));
  }
  return absl::OkStatus();
}

// LLD as a library keeps its state in globals.
absl::Status runLinker(const std::vector<std::string> &arguments) {
  static std::mutex *mutex = new std::mutex;
  static bool usable = true;
  std::lock_guard<std::mutex> lock(*mutex);
  if (!usable) {
    return absl::InternalError("the linker failed before and cannot run again in this process");
  }
  std::vector<const char *> pointers;
  for (const std::string &argument : arguments) {
    pointers.push_back(argument.c_str());
  }
  std::string output;
  llvm::raw_string_ostream stream(output);
  const lld::DriverDef drivers[] = {{lld::Gnu, &lld::elf::link}};
  lld::Result result = lld::lldMain(pointers, stream, stream, drivers);
  usable = result.canRunAgain;
  if (result.retCode != 0) {
    return absl::InternalError(absl::StrCat("linking the kernels failed: ", stream.str()));
  }
  return absl::OkStatus();
}

// Reads the entries from the symbol table, then cuts off what only linkers and debuggers read: section headers and
// symbols lie behind the last segment.
absl::StatusOr<KernelImage> takeImage(llvm::StringRef bytes, llvm::ArrayRef<std::string> names) {
  auto broken = [](llvm::Error error) {
    return absl::InternalError(absl::StrCat("the linked image cannot be read: ", toString(std::move(error))));
  };
  llvm::Expected<Elf> elf = Elf::create(bytes);
  if (!elf) {
    return broken(elf.takeError());
  }
  auto sections = elf->sections();
  if (!sections) {
    return broken(sections.takeError());
  }
  std::map<std::string, uint64_t, std::less<>> addresses;
  for (const auto &section : *sections) {
    if (section.sh_type != llvm::ELF::SHT_SYMTAB) {
      continue;
    }
    auto symbols = elf->symbols(&section);
    auto strings = elf->getStringTableForSymtab(section);
    if (!symbols || !strings) {
      return broken(llvm::joinErrors(symbols.takeError(), strings.takeError()));
    }
    for (const auto &symbol : *symbols) {
      llvm::Expected<llvm::StringRef> name = symbol.getName(*strings);
      if (!name) {
        return broken(name.takeError());
      }
      if (symbol.getType() == llvm::ELF::STT_FUNC) {
        addresses[name->str()] = symbol.st_value;
      }
    }
  }
  KernelImage image;
  for (const std::string &name : names) {
    auto it = addresses.find(name);
    if (it == addresses.end()) {
      return absl::InternalError(absl::StrCat("the linked image lacks the kernel '", name, "'"));
    }
    image.entries.push_back(it->second);
  }
  auto segments = elf->program_headers();
  if (!segments) {
    return broken(segments.takeError());
  }
  uint64_t end = sizeof(Elf::Elf_Ehdr);
  for (const auto &segment : *segments) {
    end = std::max<uint64_t>(end, segment.p_offset + segment.p_filesz);
  }
  image.elf.assign(bytes.begin(), bytes.begin() + std::min<uint64_t>(end, bytes.size()));
  auto *header = reinterpret_cast<Elf::Elf_Ehdr *>(image.elf.data());
  header->e_shoff = 0;
  header->e_shnum = 0;
  header->e_shstrndx = 0;
  return image;
}

} // namespace

absl::StatusOr<KernelImage> linkImage(llvm::ArrayRef<char> object, const Target &target,
                                      llvm::ArrayRef<std::string> names) {
  if (absl::Status status = checkDefined(llvm::StringRef(object.data(), object.size()), target); !status.ok()) {
    return status;
  }
  llvm::SmallString<128> folder;
  if (std::error_code error = llvm::sys::fs::createUniqueDirectory("emoe-link", folder)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no temporary folder to link kernels in (", error.message(), "); set TMPDIR"));
  }
  auto removeFolder = llvm::make_scope_exit([&] { llvm::sys::fs::remove_directories(folder); });
  std::string input = (folder + "/kernels.o").str(), output = (folder + "/kernels.so").str();
  {
    std::error_code error;
    llvm::raw_fd_ostream file(input, error);
    file.write(object.data(), object.size());
    file.close();
    if (error || file.has_error()) {
      error = error ? error : file.error();
      file.clear_error();
      return absl::ResourceExhaustedError(absl::StrCat("cannot write ", input, ": ", error.message()));
    }
  }
  bool arm = target.machine == EMOE_MACHINE_AARCH64;
  absl::Status linked = runLinker({"ld.lld", "-m", arm ? "aarch64linux" : "elf_x86_64", "-shared", "--no-undefined",
                                   "--build-id=none", "--hash-style=gnu", "-z", "noexecstack", "-z", "norelro", "-z",
                                   "rodynamic", "-z", arm ? "max-page-size=16384" : "max-page-size=4096", "-z",
                                   "separate-code", "--no-gc-sections", "--threads=1", "-o", output, input});
  if (!linked.ok()) {
    return linked;
  }
  auto bytes = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!bytes) {
    return absl::InternalError(absl::StrCat("cannot read ", output, ": ", bytes.getError().message()));
  }
  return takeImage((*bytes)->getBuffer(), names);
}

} // namespace emoe
