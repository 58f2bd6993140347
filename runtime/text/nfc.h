// Unicode's normal form C from the tables of a tokenizer (Unicode Standard Annex 15).
#ifndef EMOE_RUNTIME_TEXT_NFC_H_
#define EMOE_RUNTIME_TEXT_NFC_H_

#include "runtime/text/tokenizer_tables.h"

namespace emoe::rt {

// Code points that one code point decomposes to, at most; more in a table are cut off.
constexpr uint32_t kMostParts = 5;

// Decomposes wholly; returns the number of parts.
uint32_t Decompose(const Tokenizer &tokenizer, uint32_t code, uint32_t *parts);

// Whether every character of the text is one that normal form C never changes, whatever stands around it.
bool IsPlain(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes);

// Memory for NormalizeNfc: two lists of up to 5 parts for each two bytes.
constexpr uint64_t NfcScratchBytes(uint64_t bytes) { return 20 * bytes + 16; }

// Writes the normal form of valid UTF-8 to `out` (3 * bytes are enough) and returns its bytes. Linear time.
// `scratch`, aligned to 8, holds NfcScratchBytes(bytes).
uint32_t NormalizeNfc(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes, void *scratch, uint8_t *out);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_NFC_H_
