#include "runtime/text/merge.h"

namespace emoe::rt {
namespace {

// The merge of a pair, or null.
const MergeEntry *FindMerge(const Tokenizer &tokenizer, uint32_t left, uint32_t right) {
  if (tokenizer.merge_slots == 0) return nullptr;
  uint32_t slot = FirstSlot(HashMerge(left, right), tokenizer.merge_slots);
  for (uint32_t probe = 0; probe < tokenizer.header->merge_probes; ++probe) {
    const MergeEntry &entry = tokenizer.merges[slot];
    if (entry.rank == kNoRank) return nullptr;
    if (entry.left == left && entry.right == right) return &entry;
    if (++slot == tokenizer.merge_slots) slot = 0;
  }
  return nullptr;
}

// The token that is exactly this text and that merging would give, or kNoToken.
uint32_t FindWord(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes) {
  if (tokenizer.word_slots == 0 || bytes > tokenizer.longest_token) return kNoToken;
  uint32_t slot = FirstSlot(HashWord(text, bytes), tokenizer.word_slots);
  for (uint32_t probe = 0; probe < tokenizer.header->word_probes; ++probe) {
    uint32_t id = tokenizer.words[slot];
    if (id == kNoToken) return kNoToken;
    uint32_t offset = tokenizer.token_offsets[id];
    if (tokenizer.token_offsets[id + 1] - offset == bytes &&
        memcmp(tokenizer.token_bytes + offset, text, bytes) == 0) {
      return id;
    }
    if (++slot == tokenizer.word_slots) slot = 0;
  }
  return kNoToken;
}

// Short pieces: the ranks of all pairs side by side, the least searched for each time. Faster than a heap up to here.
constexpr uint32_t kShort = 40;

void MergeShort(const Tokenizer &tokenizer, uint32_t *symbols, uint32_t count, TokenSink *sink) {
  uint32_t ranks[kShort], merged[kShort];  // of the pair (i, i + 1)
  auto look_up = [&](uint32_t i) {
    const MergeEntry *entry = FindMerge(tokenizer, symbols[i], symbols[i + 1]);
    ranks[i] = entry ? entry->rank : kNoRank;
    merged[i] = entry ? entry->id : 0;
  };
  for (uint32_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    uint32_t best = 0;
    for (uint32_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged[best];
    --count;
    for (uint32_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    if (best + 1 < count) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  for (uint32_t i = 0; i < count; ++i) sink->Put(symbols[i]);
}

// A binary min-heap of (rank, position) in one number.
class Heap {
 public:
  explicit Heap(uint64_t *items) : items_(items) {}
  bool empty() const { return count_ == 0; }
  void Push(uint64_t item) {
    size_t i = count_++;
    while (i > 0 && items_[(i - 1) / 2] > item) {
      items_[i] = items_[(i - 1) / 2];
      i = (i - 1) / 2;
    }
    items_[i] = item;
  }
  uint64_t Pop() {
    uint64_t top = items_[0], last = items_[--count_];
    size_t i = 0;
    while (2 * i + 1 < count_) {
      size_t child = 2 * i + 1;
      if (child + 1 < count_ && items_[child + 1] < items_[child]) ++child;
      if (items_[child] >= last) break;
      items_[i] = items_[child];
      i = child;
    }
    items_[i] = last;
    return top;
  }

 private:
  uint64_t *items_;
  size_t count_ = 0;
};

// Long pieces: a linked list of symbols and a heap of their pairs. Each of the n - 1 merges adds at most two pairs and
// takes one, so the heap never holds more than 2 n.
void MergeLong(const Tokenizer &tokenizer, uint32_t count, void *scratch, TokenSink *sink) {
  uint64_t *items = static_cast<uint64_t *>(scratch);
  uint32_t *symbols = reinterpret_cast<uint32_t *>(items + 2 * static_cast<size_t>(count));
  uint32_t *next = symbols + count, *previous = next + count;
  constexpr uint32_t kNone = 0xffffffff;
  Heap heap(items);
  auto push_pair = [&](uint32_t i) {
    if (const MergeEntry *entry = FindMerge(tokenizer, symbols[i], symbols[next[i]])) {
      heap.Push(static_cast<uint64_t>(entry->rank) << 32 | i);
    }
  };
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kNone;
    previous[i] = i > 0 ? i - 1 : kNone;
  }
  for (uint32_t i = 0; i + 1 < count; ++i) push_pair(i);
  while (!heap.empty()) {
    uint64_t item = heap.Pop();
    uint32_t at = static_cast<uint32_t>(item), rank = static_cast<uint32_t>(item >> 32);
    if (symbols[at] == kNoToken || next[at] == kNone) continue;  // merged into its neighbour meanwhile
    const MergeEntry *entry = FindMerge(tokenizer, symbols[at], symbols[next[at]]);
    if (!entry || entry->rank != rank) continue;                 // the pair is another one meanwhile
    uint32_t right = next[at];
    symbols[at] = entry->id;
    symbols[right] = kNoToken;
    next[at] = next[right];
    if (next[at] != kNone) {
      previous[next[at]] = at;
      push_pair(at);
    }
    if (previous[at] != kNone) push_pair(previous[at]);
  }
  for (uint32_t i = 0; i != kNone; i = next[i]) sink->Put(symbols[i]);
}

}  // namespace

void MergePiece(const Tokenizer &tokenizer, const uint8_t *text, uint32_t bytes, void *scratch, TokenSink *sink) {
  uint32_t word = FindWord(tokenizer, text, bytes);
  if (word != kNoToken) {
    sink->Put(word);
    return;
  }
  uint32_t count = 0, short_symbols[kShort];
  bool is_short = bytes <= kShort;
  // The list of MergeLong lies behind a heap for as many symbols as there turn out to be.
  if (!is_short) {
    for (uint32_t i = 0; i < bytes; ++i) count += tokenizer.byte_ids[text[i]] >= 0;
  }
  uint32_t *symbols = is_short ? short_symbols
                               : reinterpret_cast<uint32_t *>(static_cast<uint64_t *>(scratch) +
                                                              2 * static_cast<size_t>(count));
  count = 0;
  for (uint32_t i = 0; i < bytes; ++i) {
    int32_t id = tokenizer.byte_ids[text[i]];
    if (id >= 0) symbols[count++] = static_cast<uint32_t>(id);
  }
  if (count == 0) return;
  if (is_short) {
    MergeShort(tokenizer, symbols, count, sink);
  } else {
    MergeLong(tokenizer, count, scratch, sink);
  }
}

}  // namespace emoe::rt
