#include "compiler/bitwidth/format.h"

#include "absl/strings/str_cat.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace emoe {
namespace {

constexpr unsigned kGroups[] = {32, 64, 128, 256};
// At the same width down's error is several times gate's and up's, so formats that give down more come between.
constexpr const char *kDefaultFormats[] = {"ternary-128", "ternary-128/2-128", "2-128", "2-128/3-128",
                                           "3-128",       "3-128/4-64",        "4-64",  "8-32"};

std::string layoutName(LayoutAttr layout) {
  return absl::StrCat(layout.getCodebook() == Codebook::Ternary ? "ternary" : absl::StrCat(layout.getBits()), "-",
                      layout.getGroup());
}

// Null if there is no such layout.
LayoutAttr layoutOf(MLIRContext &context, StringRef name) {
  auto [width, groupText] = name.split('-');
  unsigned group = 0, bits = 0;
  const bool ternary = width == "ternary";
  if (groupText.getAsInteger(10, group) || !llvm::is_contained(kGroups, group) ||
      !(ternary || (!width.getAsInteger(10, bits) && (bits == 2 || bits == 3 || bits == 4 || bits == 8)))) {
    return {};
  }
  return LayoutAttr::get(&context, ternary ? 2 : bits, FloatType::F16, group, ZeroPoint::Symmetric,
                         ternary     ? Codebook::Ternary
                         : bits <= 3 ? Codebook::Centred
                                     : Codebook::Integer,
                         16);
}

} // namespace

std::string formatName(const ExpertFormat &format) {
  return format.gateUp == format.down ? layoutName(format.gateUp)
                                      : absl::StrCat(layoutName(format.gateUp), "/", layoutName(format.down));
}

absl::StatusOr<ExpertFormat> formatOf(MLIRContext &context, StringRef name) {
  auto [gateUp, down] = name.split('/');
  ExpertFormat format{layoutOf(context, gateUp), layoutOf(context, name.contains('/') ? down : gateUp)};
  if (!format.gateUp || !format.down) {
    return absl::InvalidArgumentError(absl::StrCat("there is no format ", name.str(),
                                                   "; formats are ternary, 2, 3, 4 or 8, a dash, and a group of 32, "
                                                   "64, 128 or 256 columns, like 3-128, or two of these, like "
                                                   "2-128/3-128, the second for down"));
  }
  return format;
}

std::vector<ExpertFormat> defaultFormats(MLIRContext &context) {
  std::vector<ExpertFormat> formats;
  for (const char *name : kDefaultFormats) {
    formats.push_back(*formatOf(context, name));
  }
  return formats;
}

} // namespace emoe
