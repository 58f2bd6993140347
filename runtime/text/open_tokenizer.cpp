// Validation of the tokenizer section: after it, nothing that the tables hold leads outside them or makes Encode and
// Decode take more than their stated time.
#include "runtime/text/nfc.h"
#include "runtime/text/tokenizer.h"

namespace emoe::rt {
namespace {

Status Damaged(const char *what, uint64_t offset) { return Error(StatusCode::kBadBundle, what, offset); }

class Checker {
 public:
  Checker(const uint8_t *base, size_t bytes, Tokenizer *out) : base_(base), bytes_(bytes), tokenizer_(*out) {}

  Status Run() {
    RT_RETURN_IF_ERROR(Header());
    RT_RETURN_IF_ERROR(Tokens());
    RT_RETURN_IF_ERROR(Merges());
    RT_RETURN_IF_ERROR(Added());
    RT_RETURN_IF_ERROR(Classes());
    RT_RETURN_IF_ERROR(Stages());
    return Normaliser();
  }

 private:
  const TokenizerHeader &header() const { return *tokenizer_.header; }
  uint32_t Count(TokenizerArray array) const { return header().arrays[array].count; }
  template <typename T>
  void Point(TokenizerArray array, const T **out) const {
    *out = reinterpret_cast<const T *>(base_ + header().arrays[array].offset);
  }
  uint64_t OffsetOf(const void *at) const { return static_cast<uint64_t>(static_cast<const uint8_t *>(at) - base_); }

  Status Header();
  Status Tokens();
  Status Merges();
  Status Added();
  Status Classes();
  Status Stages();
  Status Stage(const SplitStage &stage);
  Status Normaliser();

  const uint8_t *base_;
  size_t bytes_;
  Tokenizer &tokenizer_;
};

Status Checker::Header() {
  if (bytes_ < sizeof(TokenizerHeader)) return Damaged("tokenizer: shorter than its header", bytes_);
  tokenizer_.header = reinterpret_cast<const TokenizerHeader *>(base_);
  const TokenizerHeader &h = header();
  if (h.magic != kTokenizerMagic) return Damaged("tokenizer: not tokenizer tables", 0);
  if (h.version != kTokenizerVersion) {
    return Error(StatusCode::kUnsupported, "tokenizer: tables of another version; needs another emoe-rt", h.version);
  }
  if (h.flags & ~(kTokenizerPrefixSpace | kTokenizerNfc | kTokenizerIgnoreMerges)) {
    return Error(StatusCode::kUnsupported, "tokenizer: unknown flags; needs a newer emoe-rt", h.flags);
  }
  if (h.bytes != bytes_ || h.reserved != 0) return Damaged("tokenizer: size does not match the section's", 8);
  // The arrays lie in order without holes, so they cannot overlap, and every byte is accounted for.
  uint64_t end = sizeof(TokenizerHeader);
  for (uint32_t i = 0; i < kTokenizerArrays; ++i) {
    uint64_t begin = (end + 7) & ~uint64_t{7};
    uint64_t length = static_cast<uint64_t>(h.arrays[i].count) * kElementBytes[i];
    if (h.arrays[i].offset != begin || length > bytes_ || begin > bytes_ - length) {
      return Damaged("tokenizer: an array leaves the section", OffsetOf(&h.arrays[i]));
    }
    for (; end < begin; ++end) {
      if (base_[end] != 0) return Damaged("tokenizer: a gap is not zero", end);
    }
    end = begin + length;
  }
  if (end != bytes_) return Damaged("tokenizer: bytes behind the last array", end);
  return OkStatus();
}

Status Checker::Tokens() {
  uint32_t vocab = header().vocab;
  if (vocab == 0 || vocab > kMaxTokens || Count(kTokenOffsets) != vocab + 1 || Count(kTokenFlagBytes) != vocab ||
      Count(kByteIds) != 256) {
    return Damaged("tokenizer: the vocabulary's arrays do not fit its size", 12);
  }
  Point(kTokenOffsets, &tokenizer_.token_offsets);
  Point(kTokenFlagBytes, &tokenizer_.token_flags);
  Point(kTokenBytes, &tokenizer_.token_bytes);
  Point(kByteIds, &tokenizer_.byte_ids);
  tokenizer_.vocab = vocab;
  const uint32_t *offsets = tokenizer_.token_offsets;
  for (uint32_t id = 0; id < vocab; ++id) {
    // Ascending offsets are inside the bytes if the last one is.
    if (offsets[id + 1] < offsets[id] || offsets[id + 1] - offsets[id] > kMaxTokenBytes) {
      return Damaged("tokenizer: token offsets are not ascending", OffsetOf(offsets + id));
    }
    uint32_t length = offsets[id + 1] - offsets[id];
    uint8_t flags = tokenizer_.token_flags[id];
    if (flags & ~kTokenFlags || (!(flags & kTokenExists) && (flags != 0 || length != 0))) {
      return Damaged("tokenizer: impossible token flags", OffsetOf(tokenizer_.token_flags + id));
    }
    if (length > tokenizer_.longest_token) tokenizer_.longest_token = length;
  }
  if (offsets[0] != 0 || offsets[vocab] != Count(kTokenBytes)) {
    return Damaged("tokenizer: token offsets do not cover the tokens", OffsetOf(offsets));
  }
  for (uint32_t i = 0; i < 256; ++i) {
    int32_t id = tokenizer_.byte_ids[i];
    if (id < -1 || id >= static_cast<int32_t>(vocab)) {
      return Damaged("tokenizer: a byte's token is not in the vocabulary", OffsetOf(tokenizer_.byte_ids + i));
    }
  }
  tokenizer_.first_token = header().first_token;
  if (tokenizer_.first_token < -1 || tokenizer_.first_token >= static_cast<int32_t>(vocab)) {
    return Damaged("tokenizer: the first token is not in the vocabulary", 16);
  }
  return OkStatus();
}

Status Checker::Merges() {
  Point(kMerges, &tokenizer_.merges);
  Point(kWords, &tokenizer_.words);
  tokenizer_.merge_slots = Count(kMerges);
  tokenizer_.word_slots = Count(kWords);
  if (header().merge_probes > kMaxProbes || header().word_probes > kMaxProbes) {
    return Damaged("tokenizer: look-ups would take too long", 20);
  }
  for (uint32_t i = 0; i < tokenizer_.merge_slots; ++i) {
    const MergeEntry &entry = tokenizer_.merges[i];
    if (entry.rank == kNoRank) continue;
    if (entry.left >= tokenizer_.vocab || entry.right >= tokenizer_.vocab || entry.id >= tokenizer_.vocab) {
      return Damaged("tokenizer: a merge is not of the vocabulary", OffsetOf(&entry));
    }
  }
  for (uint32_t i = 0; i < tokenizer_.word_slots; ++i) {
    uint32_t id = tokenizer_.words[i];
    if (id != kNoToken && id >= tokenizer_.vocab) {
      return Damaged("tokenizer: a word is not of the vocabulary", OffsetOf(tokenizer_.words + i));
    }
  }
  return OkStatus();
}

Status Checker::Added() {
  Point(kAddedNodes, &tokenizer_.added);
  uint32_t count = tokenizer_.added_nodes = Count(kAddedNodes);
  if (count < 2) return Damaged("tokenizer: the added tokens have no roots", 0);
  for (uint32_t i = 0; i < count; ++i) {
    const AddedNode &node = tokenizer_.added[i];
    bool root = i < 2;
    if ((root && (node.depth != 0 || node.id != -1)) || node.id < -1 ||
        node.id >= static_cast<int32_t>(tokenizer_.vocab)) {
      return Damaged("tokenizer: an added token is not of the vocabulary", OffsetOf(&node));
    }
    if (node.children == 0) continue;
    if (node.first_child <= i || node.first_child < 2 || node.first_child > count ||
        node.children > count - node.first_child) {
      return Damaged("tokenizer: an added token's continuation leads astray", OffsetOf(&node));
    }
    for (uint32_t child = node.first_child; child < node.first_child + node.children; ++child) {
      const AddedNode &next = tokenizer_.added[child];
      if (next.depth != node.depth + 1 ||
          (child > node.first_child && next.byte <= tokenizer_.added[child - 1].byte)) {
        return Damaged("tokenizer: an added token's continuations are not in order", OffsetOf(&next));
      }
    }
  }
  return OkStatus();
}

Status Checker::Classes() {
  Point(kPageOf, &tokenizer_.page_of);
  Point(kPages, &tokenizer_.pages);
  Point(kClasses, &tokenizer_.class_flags);
  tokenizer_.classes = Count(kClasses);
  constexpr uint32_t kPageBytes = 1u << kPageBits;
  if (Count(kPageOf) != kCodePoints >> kPageBits || Count(kPages) % kPageBytes != 0 || tokenizer_.classes == 0 ||
      tokenizer_.classes > 256) {
    return Damaged("tokenizer: the character classes do not cover Unicode", 0);
  }
  uint32_t pages = Count(kPages) / kPageBytes;
  for (uint32_t i = 0; i < kCodePoints >> kPageBits; ++i) {
    if (tokenizer_.page_of[i] >= pages) {
      return Damaged("tokenizer: a page of character classes is missing", OffsetOf(tokenizer_.page_of + i));
    }
  }
  for (uint32_t i = 0; i < pages * kPageBytes; ++i) {
    if (tokenizer_.pages[i] >= tokenizer_.classes) {
      return Damaged("tokenizer: unknown character class", OffsetOf(tokenizer_.pages + i));
    }
  }
  for (uint32_t i = 0; i < tokenizer_.classes; ++i) {
    if (tokenizer_.class_flags[i] & ~kClassFlags) {
      return Damaged("tokenizer: unknown flags of a character class", OffsetOf(tokenizer_.class_flags + i));
    }
  }
  return OkStatus();
}

Status Checker::Stages() {
  Point(kStages, &tokenizer_.stages);
  Point(kTransitions, &tokenizer_.transitions);
  Point(kAccepts, &tokenizer_.accepts);
  tokenizer_.stage_count = Count(kStages);
  if (tokenizer_.stage_count > kMaxStages) return Damaged("tokenizer: too many split stages", 0);
  uint64_t states = 0;
  for (uint32_t i = 0; i < tokenizer_.stage_count; ++i) {
    const SplitStage &stage = tokenizer_.stages[i];
    if (stage.first_state != states || stage.states < 2 || stage.states > kMaxStates ||
        static_cast<uint8_t>(stage.behaviour) > static_cast<uint8_t>(SplitBehaviour::kMergedWithNext) ||
        stage.invert > 1) {
      return Damaged("tokenizer: impossible split stage", OffsetOf(&stage));
    }
    states += stage.states;
  }
  if (states != Count(kAccepts) || states * tokenizer_.classes != Count(kTransitions)) {
    return Damaged("tokenizer: split stages do not fit their automata", 0);
  }
  for (uint32_t i = 0; i < tokenizer_.stage_count; ++i) {
    RT_RETURN_IF_ERROR(Stage(tokenizer_.stages[i]));
  }
  return OkStatus();
}

Status Checker::Stage(const SplitStage &stage) {
  const uint16_t *transitions = tokenizer_.transitions + static_cast<size_t>(stage.first_state) * tokenizer_.classes;
  const uint8_t *accepts = tokenizer_.accepts + stage.first_state;
  for (uint32_t i = 0; i < stage.states * tokenizer_.classes; ++i) {
    if (transitions[i] >= stage.states) {
      return Damaged("tokenizer: an automaton leaves its states", OffsetOf(transitions + i));
    }
  }
  for (uint32_t state = 0; state < stage.states; ++state) {
    if (accepts[state] & ~kAcceptFlags || (state < 2 && accepts[state] != 0)) {
      return Damaged("tokenizer: impossible acceptance", OffsetOf(accepts + state));
    }
  }
  return OkStatus();
}

Status Checker::Normaliser() {
  Point(kDecompositions, &tokenizer_.decompositions);
  Point(kCompositions, &tokenizer_.compositions);
  Point(kCombining, &tokenizer_.combining);
  tokenizer_.decomposition_count = Count(kDecompositions);
  tokenizer_.composition_count = Count(kCompositions);
  tokenizer_.combining_count = Count(kCombining);
  if (!(header().flags & kTokenizerNfc)) {
    if (tokenizer_.decomposition_count + tokenizer_.composition_count + tokenizer_.combining_count != 0) {
      return Damaged("tokenizer: normalisation tables without normalisation", 0);
    }
    return OkStatus();
  }
  // Code points are scalar values (WriteUtf8 takes no others); keys are in order; and nothing grows more than Encode
  // allows for: a decomposition at most threefold, a composition not at all.
  auto scalar = [](uint32_t code) { return code < kCodePoints && (code < 0xd800 || code > 0xdfff); };
  auto length = [](uint32_t code) { return code < 0x80 ? 1u : code < 0x800 ? 2u : code < 0x10000 ? 3u : 4u; };
  for (uint32_t i = 0; i < tokenizer_.combining_count; ++i) {
    const CombiningRange &range = tokenizer_.combining[i];
    if (range.first > range.last || range.last >= kCodePoints ||
        (i > 0 && range.first <= tokenizer_.combining[i - 1].last)) {
      return Damaged("tokenizer: combining classes are not in order", OffsetOf(&range));
    }
  }
  for (uint32_t i = 0; i < tokenizer_.composition_count; ++i) {
    const NfcPair &pair = tokenizer_.compositions[i];
    const NfcPair *before = i > 0 ? &pair - 1 : nullptr;
    if (!scalar(pair.code) || !scalar(pair.first) || !scalar(pair.second) || pair.code == 0 ||
        length(pair.code) > length(pair.first) + length(pair.second) ||
        (before && (before->first > pair.first || (before->first == pair.first && before->second >= pair.second)))) {
      return Damaged("tokenizer: impossible composition", OffsetOf(&pair));
    }
  }
  for (uint32_t i = 0; i < tokenizer_.decomposition_count; ++i) {
    const NfcPair &pair = tokenizer_.decompositions[i];
    if (!scalar(pair.code) || !scalar(pair.first) || !scalar(pair.second) || pair.code < 0x80 ||
        (i > 0 && pair.code <= (&pair - 1)->code)) {
      return Damaged("tokenizer: impossible decomposition", OffsetOf(&pair));
    }
  }
  for (uint32_t i = 0; i < tokenizer_.decomposition_count; ++i) {
    const NfcPair &pair = tokenizer_.decompositions[i];
    uint32_t parts[kMostParts], bytes = 0;
    uint32_t count = Decompose(tokenizer_, pair.code, parts);
    for (uint32_t j = 0; j < count; ++j) bytes += length(parts[j]);
    if (bytes > 3 * length(pair.code)) {
      return Damaged("tokenizer: a decomposition is too long", OffsetOf(&pair));
    }
  }
  return OkStatus();
}

}  // namespace

Status OpenTokenizer(const void *tables, size_t bytes, Tokenizer *out) {
  if (reinterpret_cast<uintptr_t>(tables) % 8 != 0) {
    return Error(StatusCode::kUsage, "tokenizer: tables must be aligned to 8 bytes");
  }
  Tokenizer opened;
  RT_RETURN_IF_ERROR(Checker(static_cast<const uint8_t *>(tables), bytes, &opened).Run());
  *out = opened;
  return OkStatus();
}

}  // namespace emoe::rt
