#include "compiler/raise/extent.h"

#include <numeric>

#include "llvm/ADT/STLExtras.h"

namespace emoe {

// A damaged model may hold any numbers: sums and products wrap, which no extent of a model that makes sense comes near.
static int64_t sum(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
static int64_t product(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

Extent Extent::symbol(unsigned id) {
  Extent extent;
  extent.terms.push_back({id, 1});
  return extent;
}

bool Extent::operator==(const Extent &other) const {
  return constantPart == other.constantPart && terms == other.terms;
}

bool Extent::operator<(const Extent &other) const {
  return std::tie(constantPart, terms) < std::tie(other.constantPart, other.terms);
}

Extent Extent::operator+(const Extent &other) const {
  Extent total(emoe::sum(constantPart, other.constantPart));
  size_t i = 0, j = 0;
  while (i < terms.size() || j < other.terms.size()) {
    if (j == other.terms.size() || (i < terms.size() && terms[i].first < other.terms[j].first)) {
      total.terms.push_back(terms[i++]);
    } else if (i == terms.size() || other.terms[j].first < terms[i].first) {
      total.terms.push_back(other.terms[j++]);
    } else {
      if (int64_t coefficient = sum(terms[i].second, other.terms[j].second)) {
        total.terms.push_back({terms[i].first, coefficient});
      }
      ++i;
      ++j;
    }
  }
  return total;
}

Extent Extent::operator*(int64_t factor) const {
  if (factor == 0) {
    return {};
  }
  Extent result = *this;
  result.constantPart = product(constantPart, factor);
  for (auto &[symbol, coefficient] : result.terms) {
    coefficient = product(coefficient, factor);
  }
  return result;
}

std::optional<int64_t> Extent::valueAt(llvm::ArrayRef<std::pair<unsigned, int64_t>> symbols) const {
  int64_t value = constantPart;
  for (const auto &term : terms) {
    const auto *known = llvm::find_if(symbols, [&](const auto &symbol) { return symbol.first == term.first; });
    if (known == symbols.end()) {
      return std::nullopt;
    }
    value = emoe::sum(value, product(term.second, known->second));
  }
  return value;
}

Extent Extent::operator-(const Extent &other) const { return *this + other * -1; }

std::optional<Extent> Extent::dividedBy(int64_t divisor) const {
  if (divisor == -1) {
    return *this * -1;
  }
  if (divisor == 0 || constantPart % divisor != 0) {
    return std::nullopt;
  }
  Extent quotient = *this;
  quotient.constantPart /= divisor;
  for (auto &[symbol, coefficient] : quotient.terms) {
    if (coefficient % divisor != 0) {
      return std::nullopt;
    }
    coefficient /= divisor;
  }
  return quotient;
}

int64_t Extent::content() const {
  int64_t divisor = constantPart < 0 ? product(constantPart, -1) : constantPart;
  for (const auto &[symbol, coefficient] : terms) {
    divisor = std::gcd(static_cast<uint64_t>(divisor), static_cast<uint64_t>(coefficient < 0 ? product(coefficient, -1) : coefficient));
  }
  return divisor;
}

bool Extent::isNonNegative() const {
  return constantPart >= 0 && llvm::all_of(terms, [](const auto &term) { return term.second > 0; });
}

Volume Volume::of(llvm::ArrayRef<Extent> extents) {
  Volume volume;
  for (const Extent &extent : extents) {
    if (extent.isConstant()) {
      volume.number = product(volume.number, extent.constant());
      continue;
    }
    int64_t content = extent.content();
    volume.number = product(volume.number, content);
    volume.factors.push_back(extent.dividedBy(content).value_or(extent));
  }
  llvm::sort(volume.factors);
  return volume;
}

std::optional<Extent> Volume::dividedBy(const Volume &other) const {
  llvm::SmallVector<Extent, 2> rest = factors;
  for (const Extent &factor : other.factors) {
    auto *found = llvm::find(rest, factor);
    if (found == rest.end()) {
      return std::nullopt;
    }
    rest.erase(found);
  }
  if (other.number <= 0 || number % other.number != 0 || rest.size() > 1) {
    return std::nullopt;
  }
  return (rest.empty() ? Extent(1) : rest[0]) * (number / other.number);
}

} // namespace emoe
