#include "compiler/quantise/widths.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compiler/quantise/quantise.h"

using namespace mlir;

namespace emoe {

static bool parsePlace(absl::string_view word, std::optional<int64_t> &out) {
  if (word == "*") {
    return true;
  }
  int64_t value = 0;
  if (!absl::SimpleAtoi(word, &value) || value < 0) {
    return false;
  }
  out = value;
  return true;
}

static bool parseWidth(absl::string_view word, unsigned &bits) {
  if (word == "ternary") {
    bits = kTernaryBits;
    return true;
  }
  return absl::SimpleAtoi(word, &bits) && llvm::is_contained({32u, 16u, 8u, 4u, 3u, 2u}, bits);
}

static bool parseGroup(absl::string_view word, const WidthRule::Width &width, unsigned &group) {
  return width.bits < 16 && absl::SimpleAtoi(word, &group) && llvm::is_contained({32u, 64u, 128u, 256u}, group);
}

static bool parseRule(const std::vector<absl::string_view> &words, WidthRule &rule) {
  if (words.size() < 3 || words.size() > 4 || !parsePlace(words[0], rule.layer) || !parsePlace(words[1], rule.expert)) {
    return false;
  }
  // Of gate and up, of down: the same where only one is given.
  std::vector<absl::string_view> widths = absl::StrSplit(words[2], '/'), groups;
  if (widths.size() > 2 || !parseWidth(widths.front(), rule.gateUp.bits) || !parseWidth(widths.back(), rule.down.bits)) {
    return false;
  }
  if (words.size() == 4) {
    groups = absl::StrSplit(words[3], '/');
    return groups.size() <= 2 && parseGroup(groups.front(), rule.gateUp, rule.gateUp.group) &&
           parseGroup(groups.back(), rule.down, rule.down.group);
  }
  return true;
}

absl::StatusOr<std::vector<WidthRule>> parseWidthRules(const std::string &text) {
  std::vector<WidthRule> rules;
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) {
      continue;
    }
    WidthRule rule;
    if (!parseRule(words, rule)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": must be LAYER EXPERT WIDTH [GROUP] with numbers or * for LAYER and EXPERT, a "
                       "WIDTH of 32, 16, 8, 4, 3, 2 or ternary, and below 16 bits a GROUP of 32, 64, 128 or 256; two of "
                       "them with / between, if down differs"));
    }
    rules.push_back(rule);
  }
  return rules;
}

LogicalResult applyWidthRules(ModuleOp module, const std::vector<WidthRule> &rules) {
  SymbolTable symbols(module);
  std::vector<MoeOp> layers;
  module.walk([&](MoeOp moe) { layers.push_back(moe); });
  for (const WidthRule &rule : rules) {
    bool found = false;
    for (MoeOp moe : layers) {
      for (size_t expert = 0; expert < moe.getUp().size(); ++expert) {
        if ((rule.layer && *rule.layer != static_cast<int64_t>(moe.getLayer())) ||
            (rule.expert && *rule.expert != static_cast<int64_t>(expert))) {
          continue;
        }
        found = true;
        auto set = [&](ArrayAttr list, const WidthRule::Width &width) {
          auto weight = symbols.lookup<WeightOp>(cast<FlatSymbolRefAttr>(list[expert]).getValue());
          weight.setLayoutAttr(layoutOfBits(width.bits, weight.getSource().getElement(), width.group));
        };
        if (moe.getGate()) {
          set(*moe.getGate(), rule.gateUp);
        }
        set(moe.getUp(), rule.gateUp);
        set(moe.getDown(), rule.down);
      }
    }
    if (!found) {
      return module.emitError() << "a width is given for expert " << rule.expert.value_or(0) << " of mixture layer "
                                << rule.layer.value_or(0) << ", which the model does not have";
    }
  }
  return success();
}

} // namespace emoe
