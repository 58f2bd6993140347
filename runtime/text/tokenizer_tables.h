// The tokenizer section as it lies in memory, shared by the compiler that writes it and the runtime that reads it.
// schema/FORMAT.md, "tokenizer", explains it; all integers are little-endian.
#ifndef EMOE_RUNTIME_TEXT_TOKENIZER_TABLES_H_
#define EMOE_RUNTIME_TEXT_TOKENIZER_TABLES_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace emoe::rt {

constexpr uint32_t kTokenizerMagic = 0x4b4f5445;  // "ETOK"
constexpr uint16_t kTokenizerVersion = 1;

// Header flags; an unknown one is refused.
enum : uint16_t {
  kTokenizerPrefixSpace = 1,  // a segment that does not begin with a space gets one
  kTokenizerNfc = 2,          // segments are brought into Unicode's normal form C
  kTokenizerIgnoreMerges = 4, // `words` holds every token, not only those that merging gives anyway
};

// Flags of a token.
enum : uint8_t {
  kTokenExists = 1,
  kTokenSpecial = 2,
  kTokenStripLeft = 4,    // takes the white space before it
  kTokenStripRight = 8,   // takes the white space after it
  kTokenSingleWord = 16,  // only where no word character touches it
  kTokenFlags = 31
};

// Flags of a character class.
enum : uint8_t { kClassSpace = 1, kClassWord = 2, kClassNfcPlain = 4, kClassFlags = 7 };

// Flags of an automaton state.
enum : uint8_t {
  kAcceptHere = 1,    // the text so far is the best match yet
  kAcceptBefore = 2,  // the text up to the last character is (it was only looked at)
  kAcceptAtEnd = 4,   // if the text ends here, the text so far is
  kAcceptFlags = 7
};

enum class SplitBehaviour : uint8_t { kIsolated = 0, kRemoved = 1, kContiguous = 2, kMergedWithPrevious = 3, kMergedWithNext = 4 };

constexpr uint32_t kNoToken = 0xffffffff;
constexpr uint32_t kNoRank = 0xffffffff;
constexpr uint32_t kCodePoints = 0x110000;
constexpr uint32_t kPageBits = 7;  // code points per page of the class map: 128
constexpr uint32_t kMaxProbes = 64;
constexpr uint32_t kMaxStages = 16;
constexpr uint32_t kMaxStates = 1024;     // of one automaton
constexpr uint32_t kMaxSilentSteps = 64;  // that an automaton takes in vain per character: bounds the work
constexpr uint32_t kMaxAddedBytes = 255;  // of an added token's text
constexpr uint32_t kMaxTokenBytes = 65535;
constexpr uint32_t kMaxTokens = 1u << 20;

struct MergeEntry {  // rank == kNoRank: an empty slot
  uint32_t left, right, rank, id;
};
struct AddedNode {
  uint32_t first_child;  // children are consecutive, sorted by byte, and lie behind their parent
  int32_t id;            // -1: no token ends here
  uint16_t children;
  uint8_t byte, depth;
};
struct SplitStage {
  uint32_t first_state;  // in `accepts`; its transitions begin at first_state * classes
  uint16_t states;       // state 0 is dead, state 1 the start
  SplitBehaviour behaviour;
  uint8_t invert;        // 1: matches count as gaps and gaps as matches
};
struct NfcPair {  // decompositions: sorted by code (second may be 0); compositions: sorted by (first, second)
  uint32_t code, first, second;
};
struct CombiningRange {  // sorted, disjoint; all others are 0
  uint32_t first;
  uint32_t last : 24, combining_class : 8;
};

// The arrays of the section, in file order: element type and count.
enum TokenizerArray : uint32_t {
  kTokenOffsets,   // uint32 [vocab + 1], ascending, into kTokenBytes
  kTokenFlagBytes, // uint8 [vocab]
  kTokenBytes,     // uint8
  kByteIds,        // int32 [256]; -1: the byte has no token and is dropped
  kMerges,         // MergeEntry [slots]
  kWords,          // uint32 [slots], kNoToken: empty
  kAddedNodes,     // AddedNode; node 0 roots the tokens matched first, node 1 those matched on normalised text
  kPageOf,         // uint16 [kCodePoints >> kPageBits]
  kPages,          // uint8 [pages << kPageBits]: character classes
  kClasses,        // uint8 [classes]: flags
  kStages,         // SplitStage, in order of application
  kTransitions,    // uint16 [states of all stages * classes]
  kAccepts,        // uint8 [states of all stages]
  kDecompositions, // NfcPair
  kCompositions,   // NfcPair
  kCombining,      // CombiningRange
  kTokenizerArrays
};

struct TokenizerHeader {
  uint32_t magic;
  uint16_t version, flags;
  uint32_t bytes;        // of the section
  uint32_t vocab;        // ids are 0 .. vocab - 1
  int32_t first_token;   // -1: none
  uint32_t merge_probes, word_probes;  // slots that a look-up tries at most
  uint32_t reserved;     // zero
  struct {
    uint32_t offset, count;  // offset: the first multiple of 8 after the array before; gaps are zeros
  } arrays[kTokenizerArrays];
};
static_assert(sizeof(MergeEntry) == 16 && sizeof(AddedNode) == 12 && sizeof(SplitStage) == 8 && sizeof(NfcPair) == 12 &&
              sizeof(CombiningRange) == 8 && sizeof(TokenizerHeader) == 32 + 8 * kTokenizerArrays);

constexpr uint32_t kElementBytes[kTokenizerArrays] = {4, 1, 1, 4, 16, 4, 12, 2, 1, 1, 8, 2, 1, 12, 12, 8};

// A look-up begins at slot (hash * slots) >> 32 and tries the following ones, wrapping around.
inline uint32_t HashMerge(uint32_t left, uint32_t right) {
  uint64_t key = (static_cast<uint64_t>(left) << 32 | right) * 0x9e3779b97f4a7c15u;
  return static_cast<uint32_t>((key ^ key >> 29) * 0xbf58476d1ce4e5b9u >> 32);
}
inline uint32_t HashWord(const uint8_t *text, size_t bytes) {
  uint64_t hash = bytes;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t part = 0;
    memcpy(&part, text + i, bytes - i < 8 ? bytes - i : 8);
    hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return static_cast<uint32_t>(hash * 0xbf58476d1ce4e5b9u >> 32);
}
inline uint32_t FirstSlot(uint32_t hash, uint32_t slots) {
  return static_cast<uint32_t>(static_cast<uint64_t>(hash) * slots >> 32);
}

// An opened section: plain pointers into it.
struct Tokenizer {
  const TokenizerHeader *header = nullptr;
  const uint32_t *token_offsets = nullptr;
  const uint8_t *token_flags = nullptr, *token_bytes = nullptr;
  const int32_t *byte_ids = nullptr;
  const MergeEntry *merges = nullptr;
  const uint32_t *words = nullptr;
  const AddedNode *added = nullptr;
  const uint16_t *page_of = nullptr;
  const uint8_t *pages = nullptr, *class_flags = nullptr;
  const SplitStage *stages = nullptr;
  const uint16_t *transitions = nullptr;
  const uint8_t *accepts = nullptr;
  const NfcPair *decompositions = nullptr, *compositions = nullptr;
  const CombiningRange *combining = nullptr;

  uint32_t merge_slots = 0, word_slots = 0, added_nodes = 0, classes = 0, stage_count = 0;
  uint32_t decomposition_count = 0, composition_count = 0, combining_count = 0;
  uint32_t vocab = 0, longest_token = 0;  // ids; bytes of the longest token
  int32_t first_token = -1;               // heads every document; -1: none

  uint8_t ClassOf(uint32_t code) const {
    return pages[static_cast<uint32_t>(page_of[code >> kPageBits]) << kPageBits | (code & ((1u << kPageBits) - 1))];
  }
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_TOKENIZER_TABLES_H_
