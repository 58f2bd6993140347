// Read-only files in memory. Bytes of a model are read where they lie; nothing is copied.
#ifndef EMOE_FRONTENDS_FILES_H_
#define EMOE_FRONTENDS_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace emoe {

// A whole file, mapped until destruction. Movable; thread-safe once made. A file that another process shortens while
// it is mapped raises SIGBUS on access: models must not be written while they are compiled.
class MappedFile {
public:
  // NotFound if nothing is there, InvalidArgument if it is no regular file.
  static absl::StatusOr<MappedFile> open(const std::string &path);
  // Maps what `fd` refers to; `path` is for messages. The caller keeps `fd`.
  static absl::StatusOr<MappedFile> map(int fd, const std::string &path);

  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept { *this = static_cast<MappedFile &&>(other); }
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

private:
  const uint8_t *data_ = nullptr;
  size_t size_ = 0;
};

// Opens a file that a model refers to by `location`, relative to the model's folder `directory`. The location comes
// from the model, which nobody vouches for: it must be relative, without `..`, and the file that is really opened,
// after all symbolic links, must lie in the folder, or in the `blobs` folder of the Hugging Face cache whose snapshot
// the folder is. PermissionDenied if not.
absl::StatusOr<MappedFile> openBeside(const std::string &directory, const std::string &location);

// The folder of `path`, "." if it has none.
std::string directoryOf(const std::string &path);

} // namespace emoe

#endif // EMOE_FRONTENDS_FILES_H_
