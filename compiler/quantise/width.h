// Widths of weights as numbers of bits, as flags and options have them.
#ifndef EMOE_COMPILER_QUANTISE_WIDTH_H_
#define EMOE_COMPILER_QUANTISE_WIDTH_H_

namespace emoe {

// Among 32, 16, 8, 4, 3 and 2 bits, this one stands for ternary.
constexpr unsigned kTernaryBits = 1;

// Columns that share a scale unless the user says otherwise.
constexpr unsigned defaultGroup(unsigned bits) { return bits >= 4 ? 32 : 128; }

} // namespace emoe

#endif // EMOE_COMPILER_QUANTISE_WIDTH_H_
