#include "runtime/text/nfc.h"

#include "runtime/text/utf8.h"

namespace emoe::rt {
namespace {

// Hangul syllables are computed: Unicode Standard, 3.12.
constexpr uint32_t kSyllables = 0xac00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11a7;
constexpr uint32_t kVowelCount = 21, kTailCount = 28, kLeadCount = 19;
constexpr uint32_t kSyllableCount = kLeadCount * kVowelCount * kTailCount;

// A code point and its combining class in one number.
constexpr uint32_t kCodeMask = 0x1fffff;
uint32_t ClassOf(uint32_t part) { return part >> 24; }

uint32_t CombiningClass(const Tokenizer &tokenizer, uint32_t code) {
  uint32_t low = 0, high = tokenizer.combining_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const CombiningRange &range = tokenizer.combining[middle];
    if (code > range.last) {
      low = middle + 1;
    } else if (code < range.first) {
      high = middle;
    } else {
      return range.combining_class;
    }
  }
  return 0;
}

const NfcPair *FindDecomposition(const Tokenizer &tokenizer, uint32_t code) {
  uint32_t low = 0, high = tokenizer.decomposition_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (tokenizer.decompositions[middle].code < code) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  bool found = low < tokenizer.decomposition_count && tokenizer.decompositions[low].code == code;
  return found ? &tokenizer.decompositions[low] : nullptr;
}

// The composite of two characters, or 0.
uint32_t Compose(const Tokenizer &tokenizer, uint32_t first, uint32_t second) {
  if (first - kLeads < kLeadCount && second - kVowels < kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTailCount;
  }
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTailCount == 0 && second - kTails - 1 < kTailCount - 1) {
    return first + (second - kTails);
  }
  uint32_t low = 0, high = tokenizer.composition_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const NfcPair &pair = tokenizer.compositions[middle];
    if (pair.first < first || (pair.first == first && pair.second < second)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  bool found = low < tokenizer.composition_count && tokenizer.compositions[low].first == first &&
               tokenizer.compositions[low].second == second;
  return found ? tokenizer.compositions[low].code : 0;
}

// Stable sort of marks by combining class: by insertion if there are few, else by counting.
void SortMarks(uint32_t *marks, size_t count, uint32_t *spare) {
  constexpr size_t kFew = 32;
  if (count <= kFew) {
    for (size_t i = 1; i < count; ++i) {
      uint32_t mark = marks[i];
      size_t j = i;
      for (; j > 0 && ClassOf(marks[j - 1]) > ClassOf(mark); --j) marks[j] = marks[j - 1];
      marks[j] = mark;
    }
    return;
  }
  size_t place[257] = {};
  for (size_t i = 0; i < count; ++i) ++place[ClassOf(marks[i]) + 1];
  for (size_t i = 1; i < 257; ++i) place[i] += place[i - 1];
  for (size_t i = 0; i < count; ++i) spare[place[ClassOf(marks[i])]++] = marks[i];
  memcpy(marks, spare, count * sizeof(*marks));
}

// Orders and composes decomposed parts in place; returns how many are left.
size_t Recompose(const Tokenizer &tokenizer, uint32_t *parts, size_t count, uint32_t *spare) {
  for (size_t i = 0; i < count;) {
    size_t end = i;
    while (end < count && ClassOf(parts[end]) != 0) ++end;
    SortMarks(parts + i, end - i, spare);
    i = end + 1;
  }
  // A character joins the last starter unless one of its own or a higher class, or a starter, stands between them.
  size_t starter = count, kept = 0;
  uint32_t last_class = 0;
  for (size_t i = 0; i < count; ++i) {
    uint32_t part = parts[i], part_class = ClassOf(part);
    bool blocked = starter == count || (kept != starter + 1 && last_class >= part_class);
    uint32_t composite =
        blocked ? 0 : Compose(tokenizer, parts[starter] & kCodeMask, part & kCodeMask);
    if (composite != 0) {
      parts[starter] = composite;  // composites are starters
      continue;
    }
    if (part_class == 0) starter = kept;
    last_class = part_class;
    parts[kept++] = part;
  }
  return kept;
}

}  // namespace

uint32_t Decompose(const Tokenizer &tokenizer, uint32_t code, uint32_t *parts) {
  if (code - kSyllables < kSyllableCount) {
    uint32_t index = code - kSyllables, tail = index % kTailCount;
    parts[0] = kLeads + index / (kVowelCount * kTailCount);
    parts[1] = kVowels + index / kTailCount % kVowelCount;
    parts[2] = kTails + tail;
    return tail != 0 ? 3 : 2;
  }
  // Only the first of a pair decomposes further; the seconds come out last to first.
  uint32_t seconds[kMostParts - 1], count = 0;
  for (uint32_t step = 0; step < kMostParts - 1; ++step) {
    const NfcPair *pair = FindDecomposition(tokenizer, code);
    if (!pair) break;
    code = pair->first;
    if (pair->second != 0) seconds[count++] = pair->second;
  }
  parts[0] = code;
  for (uint32_t i = 0; i < count; ++i) parts[1 + i] = seconds[count - 1 - i];
  return 1 + count;
}

bool IsPlain(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes) {
  for (uint32_t at = 0; at < bytes;) {
    uint32_t length;
    uint32_t code = ReadValidUtf8(text + at, &length);
    if (!(tokenizer.class_flags[tokenizer.ClassOf(code)] & kClassNfcPlain)) return false;
    at += length;
  }
  return true;
}

uint32_t NormalizeNfc(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes, void *scratch, uint8_t *out) {
  uint32_t *parts = static_cast<uint32_t *>(scratch);
  uint32_t *spare = parts + (static_cast<size_t>(bytes) * kMostParts + 1) / 2;
  uint8_t *to = out;
  // What lies between two plain characters, the first of them included, is normalised on its own.
  for (uint32_t at = 0; at < bytes;) {
    uint32_t begin = at, length;
    size_t characters = 0;
    do {
      ReadValidUtf8(text + at, &length);
      at += length;
      ++characters;
    } while (at < bytes && !IsPlain(tokenizer, text + at, 1));
    if (characters == 1 && IsPlain(tokenizer, text + begin, 1)) {
      memcpy(to, text + begin, at - begin);
      to += at - begin;
      continue;
    }
    size_t count = 0;
    for (uint32_t i = begin; i < at; i += length) {
      uint32_t decomposed[kMostParts];
      uint32_t code = ReadValidUtf8(text + i, &length);
      uint32_t few = Decompose(tokenizer, code, decomposed);
      for (uint32_t j = 0; j < few; ++j) {
        parts[count++] = decomposed[j] | CombiningClass(tokenizer, decomposed[j]) << 24;
      }
    }
    count = Recompose(tokenizer, parts, count, spare);
    for (size_t i = 0; i < count; ++i) to += WriteUtf8(parts[i] & kCodeMask, to);
  }
  return static_cast<uint32_t>(to - out);
}

}  // namespace emoe::rt
