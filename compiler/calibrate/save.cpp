#include "compiler/calibrate/save.h"

#include "absl/strings/str_cat.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

namespace emoe {

absl::Status saveMoments(const std::vector<LayerMoments> &moments, const std::string &path) {
  std::vector<const Moment *> order;
  std::string header = "{";
  uint64_t end = 0;
  auto add = [&](const std::string &name, const Moment &moment) {
    if (moment.kind == Moment::Kind::None) {
      return;
    }
    uint64_t begin = end;
    end += moment.values.size() * sizeof(float);
    absl::StrAppend(&header, order.empty() ? "" : ",", "\"", name, "\":{\"dtype\":\"F32\",\"shape\":[", moment.columns,
                    moment.kind == Moment::Kind::Full ? absl::StrCat(",", moment.columns) : "", "],\"data_offsets\":[",
                    begin, ",", end, "]}");
    order.push_back(&moment);
  };
  for (size_t layer = 0; layer < moments.size(); ++layer) {
    std::string prefix = absl::StrCat("layer", layer, ".");
    for (size_t expert = 0; expert < moments[layer].experts.size(); ++expert) {
      add(absl::StrCat(prefix, "expert", expert, ".input"), moments[layer].experts[expert].input);
      add(absl::StrCat(prefix, "expert", expert, ".hidden"), moments[layer].experts[expert].hidden);
    }
    add(prefix + "input", moments[layer].input);
    add(prefix + "hidden", moments[layer].hidden);
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  if (!error) {
    uint64_t bytes = header.size(); // the format and the hosts that compile are little-endian
    file.write(reinterpret_cast<const char *>(&bytes), sizeof(bytes));
    file << header;
    for (const Moment *moment : order) {
      file.write(reinterpret_cast<const char *>(moment->values.data()), moment->values.size() * sizeof(float));
    }
    file.close();
    error = file.error();
    file.clear_error();
  }
  return error ? absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", error.message())) : absl::OkStatus();
}

} // namespace emoe
