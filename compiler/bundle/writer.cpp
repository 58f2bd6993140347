#include "compiler/bundle/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include "runtime/bundle/check.h"
#include "runtime/bundle/crc32c.h"
#include "runtime/bundle/memory_provider.h"
#include "schema/format.h"
#include "schema/kernel_abi.h"
#include "schema/limits.h"

namespace emoe {
namespace {

// Where the bytes go: a file or memory. Every byte that is not written is zero.
class Sink {
public:
  virtual ~Sink() = default;
  virtual absl::Status resize(uint64_t bytes) = 0;
  virtual absl::Status write(uint64_t offset, const void *bytes, size_t size) = 0;
};

class MemorySink : public Sink {
public:
  absl::Status resize(uint64_t size) override {
    bytes.resize(size);
    return absl::OkStatus();
  }
  absl::Status write(uint64_t offset, const void *from, size_t size) override {
    if (size > 0) {
      std::memcpy(bytes.data() + offset, from, size);
    }
    return absl::OkStatus();
  }
  std::vector<uint8_t> bytes;
};

absl::Status systemError(absl::string_view what, const std::string &path) {
  int error = errno;
  std::string text = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  return error == ENOSPC || error == EDQUOT ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
}

// Shows what is written to somebody else.
class PieceSink : public Sink {
public:
  using Piece = std::function<void(uint64_t offset, const uint8_t *bytes, size_t size)>;
  explicit PieceSink(const Piece &piece) : piece(piece) {}
  absl::Status resize(uint64_t bytes) override {
    size = bytes;
    return absl::OkStatus();
  }
  absl::Status write(uint64_t offset, const void *bytes, size_t size) override {
    piece(offset, static_cast<const uint8_t *>(bytes), size);
    return absl::OkStatus();
  }
  uint64_t size = 0;

private:
  const Piece &piece;
};

// A temporary file beside `path` that becomes `path` by commit(), or goes away: when this object does, or when a
// signal ends the process.
class FileSink : public Sink, public rt::Provider {
public:
  explicit FileSink(const std::string &path)
      : path(path), temporary(absl::StrCat(path, ".tmp.", static_cast<int64_t>(getpid()))) {}
  ~FileSink() override {
    if (fd >= 0) {
      close(fd);
      unlink(temporary.c_str());
    }
    llvm::sys::DontRemoveFileOnSignal(temporary);
  }

  absl::Status open() {
    unlink(temporary.c_str());  // of a process that had our id and was killed
    fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0) {
      return systemError("cannot create", temporary);
    }
    llvm::sys::RemoveFileOnSignal(temporary);
    return absl::OkStatus();
  }

  absl::Status resize(uint64_t bytes) override {
    length = bytes;
    int error = posix_fallocate(fd, 0, bytes);
    if (error == EOPNOTSUPP || error == EINVAL) {  // this file system cannot reserve
      error = ftruncate(fd, bytes) == 0 ? 0 : errno;
    }
    errno = error;
    return error == 0 ? absl::OkStatus() : systemError(absl::StrCat("cannot reserve ", bytes, " bytes for"), path);
  }

  absl::Status write(uint64_t offset, const void *bytes, size_t size) override {
    const char *from = static_cast<const char *>(bytes);
    while (size > 0) {
      ssize_t written = pwrite(fd, from, size, offset);
      if (written < 0 && errno == EINTR) {
        continue;
      }
      if (written <= 0) {
        return systemError("cannot write", path);
      }
      from += written;
      offset += written;
      size -= written;
    }
    return absl::OkStatus();
  }

  absl::Status commit() {
    if (fsync(fd) != 0) {
      return systemError("cannot sync", path);
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
      return systemError("cannot rename the finished bundle to", path);
    }
    close(fd);
    fd = -1;
    // The name is safe once the folder is.
    std::string folder = llvm::sys::path::parent_path(path).str();
    if (folder.empty()) {
      folder = ".";
    }
    int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = directory >= 0 && (fsync(directory) == 0 || errno == EINVAL);
    absl::Status status = synced ? absl::OkStatus() : systemError("cannot sync the folder of", path);
    if (directory >= 0) {
      close(directory);
    }
    return status;
  }

  // What was written can be read back before it gets its name.
  uint64_t size() const override { return length; }
  rt::Status Read(uint64_t offset, void *out, size_t bytes) override {
    for (char *to = static_cast<char *>(out); bytes > 0;) {
      ssize_t got = pread(fd, to, bytes, offset);
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got <= 0) {
        return rt::Error(rt::StatusCode::kIo, "cannot read back what was written, at", offset);
      }
      to += got;
      offset += got;
      bytes -= got;
    }
    return rt::OkStatus();
  }

private:
  std::string path, temporary;
  int fd = -1;
  uint64_t length = 0;
};

// Lays everything out, then writes it front to back; the index, whose checksums come from the records, and the header
// come last.
class Writer {
public:
  // `weights`: whether the sink gets the bytes of tensors and records.
  Writer(BundleContents &contents, Sink &sink, bool weights = true)
      : contents(contents), index(contents.index), sink(sink), weights(weights) {}

  absl::Status run() {
    for (absl::Status (Writer::*part)() : {&Writer::layOut, &Writer::writeResident, &Writer::writeRecords,
                                           &Writer::writeImages, &Writer::writeBlobs, &Writer::writeIndexAndHeader}) {
      if (absl::Status status = (this->*part)(); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

private:
  absl::Status layOut();
  absl::Status layOutRecords(uint64_t &bytes);
  absl::Status writeResident();
  absl::Status writeRecords();
  absl::Status writeRecord(size_t number, size_t expert, size_t crc, uint64_t start, std::vector<uint8_t> &bytes);
  absl::Status writeImages();
  absl::Status writeBlobs();
  absl::Status writeIndexAndHeader();

  bool hasModel() const { return index.model != nullptr; }
  emoe_section &section(emoe_section_type type) {
    return *llvm::find_if(sections, [&](const emoe_section &entry) { return entry.type == uint32_t(type); });
  }
  void addSection(emoe_section_type type, uint64_t length) {
    sections.push_back({static_cast<uint32_t>(type), 0, end, length, 0});
    end = llvm::alignTo(end + length, EMOE_SECTION_ALIGN);
  }
  std::vector<uint8_t> packIndex() const {
    flatbuffers::FlatBufferBuilder builder(1 << 20);
    builder.Finish(fb::Bundle::Pack(builder, &index), fb::BundleIdentifier());
    return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
  }
  void report(uint64_t bytes) {
    done += bytes;
    if (contents.progress) {
      contents.progress(std::min(1.0, static_cast<double>(done) / static_cast<double>(end)));
    }
  }

  BundleContents &contents;
  fb::BundleT &index;
  Sink &sink;
  bool weights;
  std::vector<emoe_section> sections;
  uint64_t end = EMOE_SECTION_ALIGN;  // of the file, as far as it is laid out
  uint64_t done = 0;
};

absl::Status Writer::layOutRecords(uint64_t &bytes) {
  uint64_t crcs = 0;
  for (auto [number, layer] : llvm::enumerate(index.moe_layers)) {
    for (fb::Record &record : layer->records) {
      if (record.variant() >= layer->variants.size()) {
        return absl::InternalError(absl::StrCat("an expert of mixture layer ", number, " has no variant"));
      }
      const fb::VariantT &variant = *layer->variants[record.variant()];
      record = fb::Record(bytes, crcs, record.variant());
      bytes += variant.record_bytes;
      crcs += variant.chunk_ends.size();
    }
  }
  index.chunk_crcs.assign(crcs, 0);
  return absl::OkStatus();
}

absl::Status Writer::layOut() {
  if (hasModel()) {
    uint64_t resident = 0, records = 0, images = 0;
    for (auto &tensor : index.tensors) {
      tensor->offset = llvm::alignTo(resident, 64);
      resident = tensor->offset + tensor->bytes;
    }
    uint64_t panels = 0;
    for (auto &tensor : index.tensors) {
      panels += tensor->paged ? llvm::divideCeil(tensor->rows, EMOE_PANEL_ROWS) : 0;
    }
    index.panel_crcs.assign(panels == 0 ? 0 : panels + 1, 0);
    if (absl::Status status = layOutRecords(records); !status.ok()) {
      return status;
    }
    if (contents.images.size() != index.images.size()) {
      return absl::InternalError("the number of kernel images differs from the index's");
    }
    for (auto [image, bytes] : llvm::zip_equal(index.images, contents.images)) {
      image->offset = llvm::alignTo(images, EMOE_SECTION_ALIGN);
      image->bytes = bytes.size();
      images = image->offset + image->bytes;
    }
    // All but the checksums' values is known now, so this is the index's size.
    uint64_t indexBytes = packIndex().size();
    if (indexBytes > EMOE_LIMIT_INDEX_BYTES) {
      return absl::OutOfRangeError(absl::StrCat("the bundle's index would take ", indexBytes, " bytes; the format "
                                                "allows ", EMOE_LIMIT_INDEX_BYTES));
    }
    addSection(EMOE_SECTION_INDEX, indexBytes);
    addSection(EMOE_SECTION_RESIDENT, resident);
    addSection(EMOE_SECTION_EXPERTS, records);
    addSection(EMOE_SECTION_KERNELS, images);
  }
  if (!contents.tokenizer.empty()) {
    addSection(EMOE_SECTION_TOKENIZER, contents.tokenizer.size());
  }
  if (!contents.tables.empty()) {
    addSection(EMOE_SECTION_TABLES, contents.tables.size());
  }
  if (sections.empty()) {
    return absl::InternalError("a bundle needs a model or a tokenizer");
  }
  return sink.resize(end);
}

absl::Status Writer::writeResident() {
  if (!hasModel()) {
    return absl::OkStatus();
  }
  emoe_section &resident = section(EMOE_SECTION_RESIDENT);
  std::vector<uint8_t> bytes;
  uint64_t at = 0;
  size_t crcs = 0;
  for (auto [i, tensor] : llvm::enumerate(index.tensors)) {
    // The gap before the tensor, as zeros, and the tensor.
    size_t gap = tensor->offset - at;
    bytes.assign(gap + tensor->bytes, 0);
    if (absl::Status status = contents.tensor(i, bytes.data() + gap); !status.ok()) {
      return status;
    }
    if (tensor->paged) {
      if (crcs == 0) {
        index.panel_crcs[crcs++] = rt::Crc32c(bytes.data(), gap, resident.crc);
      }
      const fb::Layout &stored = *tensor->layout;
      const rt::Layout layout = {stored.bits(), static_cast<uint8_t>(stored.float_type()),
                                 static_cast<uint8_t>(stored.zero_point()), static_cast<uint8_t>(stored.codebook()),
                                 stored.group(), stored.panel()};
      uint64_t panelBytes = 0;
      if (!rt::PanelBytes(layout, tensor->columns, &panelBytes)) {
        return absl::InternalError(absl::StrCat("the paged tensor ", tensor->name, " has no panels"));
      }
      for (uint64_t panel = 0; panel < llvm::divideCeil(tensor->rows, EMOE_PANEL_ROWS); ++panel) {
        index.panel_crcs[crcs++] = rt::Crc32c(bytes.data() + gap + panel * panelBytes, panelBytes);
      }
    }
    resident.crc = rt::Crc32c(bytes.data(), bytes.size(), resident.crc);
    if (weights) {
      if (absl::Status status = sink.write(resident.offset + at, bytes.data(), bytes.size()); !status.ok()) {
        return status;
      }
    }
    at += bytes.size();
    report(bytes.size());
  }
  return absl::OkStatus();
}

absl::Status Writer::writeRecords() {
  if (!hasModel() || !weights) {
    return absl::OkStatus();
  }
  struct Job {
    size_t layer, expert, crc;
  };
  std::vector<Job> jobs;
  size_t crcs = 0;
  for (auto [number, layer] : llvm::enumerate(index.moe_layers)) {
    for (auto [expert, record] : llvm::enumerate(layer->records)) {
      jobs.push_back({number, expert, crcs});
      crcs += layer->variants[record.variant()]->chunk_ends.size();
    }
  }
  const uint64_t start = section(EMOE_SECTION_EXPERTS).offset;
  std::vector<absl::Status> results(jobs.size());
  std::atomic<size_t> next{0}, written{0};
  auto work = [&](bool reports) {
    std::vector<uint8_t> bytes;
    size_t reported = 0;
    for (size_t i; (i = next++) < jobs.size();) {
      results[i] = writeRecord(jobs[i].layer, jobs[i].expert, jobs[i].crc, start, bytes);
      if (!results[i].ok()) {
        next = jobs.size();
      }
      written += bytes.size();
      if (reports) {
        const size_t all = written;
        report(all - reported);
        reported = all;
      }
    }
    return reported;
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < contents.threads; ++i) {
    others.emplace_back(work, false);
  }
  const size_t reported = work(true);
  for (std::thread &thread : others) {
    thread.join();
  }
  report(written - reported);
  auto failed = llvm::find_if(results, [](const absl::Status &status) { return !status.ok(); });
  return failed == results.end() ? absl::OkStatus() : *failed;
}

// Packs a record into `bytes` and writes it to its place after `start`; its chunks' checksums go to `crc` and after.
absl::Status Writer::writeRecord(size_t number, size_t expert, size_t crc, uint64_t start, std::vector<uint8_t> &bytes) {
  const fb::MoeLayerT &layer = *index.moe_layers[number];
  const fb::Record &record = layer.records[expert];
  const fb::VariantT &variant = *layer.variants[record.variant()];
  bytes.resize(variant.record_bytes);
  if (absl::Status status = contents.record(number, expert, bytes.data()); !status.ok()) {
    return status;
  }
  uint32_t chunkStart = 0;
  for (uint32_t chunkEnd : variant.chunk_ends) {
    if (chunkEnd < chunkStart || chunkEnd > bytes.size()) {
      return absl::InternalError(absl::StrCat("chunks of mixture layer ", number, " leave the record"));
    }
    index.chunk_crcs[crc++] = rt::Crc32c(bytes.data() + chunkStart, chunkEnd - chunkStart);
    chunkStart = chunkEnd;
  }
  return sink.write(start + record.offset(), bytes.data(), bytes.size());
}

absl::Status Writer::writeImages() {
  if (!hasModel()) {
    return absl::OkStatus();
  }
  emoe_section &kernels = section(EMOE_SECTION_KERNELS);
  uint64_t at = 0;
  for (auto [image, elf] : llvm::zip_equal(index.images, contents.images)) {
    const std::vector<uint8_t> gap(image->offset - at);
    kernels.crc = rt::Crc32c(gap.data(), gap.size(), kernels.crc);
    kernels.crc = rt::Crc32c(elf.data(), elf.size(), kernels.crc);
    if (absl::Status status = sink.write(kernels.offset + image->offset, elf.data(), elf.size()); !status.ok()) {
      return status;
    }
    at = image->offset + image->bytes;
    report(elf.size());
  }
  return absl::OkStatus();
}

absl::Status Writer::writeBlobs() {
  for (auto [type, bytes] : {std::pair(EMOE_SECTION_TOKENIZER, &contents.tokenizer),
                             std::pair(EMOE_SECTION_TABLES, &contents.tables)}) {
    if (bytes->empty()) {
      continue;
    }
    emoe_section &blob = section(type);
    blob.crc = rt::Crc32c(bytes->data(), bytes->size());
    if (absl::Status status = sink.write(blob.offset, bytes->data(), bytes->size()); !status.ok()) {
      return status;
    }
    report(bytes->size());
  }
  return absl::OkStatus();
}

absl::Status Writer::writeIndexAndHeader() {
  if (hasModel()) {
    emoe_section &entry = section(EMOE_SECTION_INDEX);
    std::vector<uint8_t> bytes = packIndex();
    if (bytes.size() != entry.length) {
      return absl::InternalError("the index changed its size while it was written");
    }
    entry.crc = rt::Crc32c(bytes.data(), bytes.size());
    if (absl::Status status = sink.write(entry.offset, bytes.data(), bytes.size()); !status.ok()) {
      return status;
    }
  }
  emoe_header header = {};
  std::memcpy(header.magic, EMOE_MAGIC, sizeof(header.magic));
  header.major = EMOE_FORMAT_MAJOR;
  header.minor = EMOE_FORMAT_MINOR;
  header.section_count = sections.size();
  header.file_bytes = end;
  const size_t tableBytes = sections.size() * sizeof(emoe_section);
  header.header_crc = rt::Crc32c(sections.data(), tableBytes, rt::Crc32c(&header, sizeof(header)));
  if (absl::Status status = sink.write(sizeof(header), sections.data(), tableBytes); !status.ok()) {
    return status;
  }
  if (absl::Status status = sink.write(0, &header, sizeof(header)); !status.ok()) {
    return status;
  }
  report(end - done);
  return absl::OkStatus();
}

// The runtime is the judge: what it would refuse does not leave the compiler.
absl::Status checkReadable(rt::Provider &provider) {
  rt::Bundle bundle;
  rt::Status status = rt::OpenBundle(provider, &bundle);
  rt::CloseBundle(&bundle);
  return status.ok() ? absl::OkStatus()
                     : absl::InternalError(absl::StrCat("the runtime refuses the bundle that was just written: ",
                                                        status.what, ": ", status.detail, ", ", status.detail2));
}

} // namespace

absl::Status writeBundle(BundleContents &contents, const std::string &path) {
  FileSink sink(path);
  absl::Status status = sink.open();
  if (status.ok()) {
    status = Writer(contents, sink).run();
  }
  if (status.ok()) {
    status = checkReadable(sink);
  }
  return status.ok() ? sink.commit() : status;
}

absl::StatusOr<uint64_t>
layOutBundle(BundleContents &contents, const std::function<void(uint64_t offset, const uint8_t *bytes, size_t size)> &piece) {
  PieceSink sink(piece);
  absl::Status status = Writer(contents, sink, /*weights=*/false).run();
  return status.ok() ? absl::StatusOr<uint64_t>(sink.size) : status;
}

absl::StatusOr<std::vector<uint8_t>> writeBundleToMemory(BundleContents &contents) {
  MemorySink sink;
  if (absl::Status status = Writer(contents, sink).run(); !status.ok()) {
    return status;
  }
  rt::MemoryProvider provider(sink.bytes.data(), sink.bytes.size());
  if (absl::Status status = checkReadable(provider); !status.ok()) {
    return status;
  }
  return std::move(sink.bytes);
}

} // namespace emoe
