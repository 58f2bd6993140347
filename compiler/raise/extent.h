// Extents of tensors, known as expressions: the number of tokens, of past positions, of rows that an expert gets.
#ifndef EMOE_COMPILER_RAISE_EXTENT_H_
#define EMOE_COMPILER_RAISE_EXTENT_H_

#include <cstdint>
#include <optional>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

namespace emoe {

// constant + sum of coefficient * symbol. Symbols are non-negative integers that only the run knows.
class Extent {
public:
  Extent(int64_t constant = 0) : constantPart(constant) {}
  static Extent symbol(unsigned id);

  bool isConstant() const { return terms.empty(); }
  int64_t constant() const { return constantPart; }  // of a constant extent
  bool operator==(const Extent &other) const;
  bool operator!=(const Extent &other) const { return !(*this == other); }
  bool operator<(const Extent &other) const;  // an arbitrary order, for sorting
  Extent operator+(const Extent &other) const;
  Extent operator-(const Extent &other) const;
  Extent operator*(int64_t factor) const;
  // The quotient if it is an extent again.
  std::optional<Extent> dividedBy(int64_t divisor) const;
  // Greatest common divisor of the constant and the coefficients, > 0 unless the extent is zero.
  int64_t content() const;
  // True if no value of the symbols makes it negative (no negative part).
  bool isNonNegative() const;
  // What it is where symbols have these values; nullopt if it has another symbol.
  std::optional<int64_t> valueAt(llvm::ArrayRef<std::pair<unsigned, int64_t>> symbols) const;

private:
  int64_t constantPart;
  llvm::SmallVector<std::pair<unsigned, int64_t>, 2> terms;  // (symbol, coefficient != 0), by symbol
};

using Extents = llvm::SmallVector<Extent, 4>;

// A product of extents, kept as a number times primitive factors, so that quotients of products are found.
class Volume {
public:
  static Volume of(llvm::ArrayRef<Extent> extents);
  // this / other, if it is one extent.
  std::optional<Extent> dividedBy(const Volume &other) const;
  bool operator==(const Volume &other) const { return number == other.number && factors == other.factors; }

private:
  int64_t number = 1;
  llvm::SmallVector<Extent, 2> factors;  // not constant, content 1, sorted
};

} // namespace emoe

#endif // EMOE_COMPILER_RAISE_EXTENT_H_
