#include "runtime/text/tokenizer.h"

#include "runtime/text/merge.h"
#include "runtime/text/nfc.h"
#include "runtime/text/split.h"

namespace emoe::rt {
namespace {

constexpr uint64_t AlignUp(uint64_t bytes) { return (bytes + 7) & ~uint64_t{7}; }

// Where the parts of the scratch lie.
struct Layout {
  uint64_t clean;                 // bytes of the text after repair
  uint64_t copy, merge, total;    // offsets of a segment's copy and of merging's memory; the repaired text is at 0
  bool valid;                     // the text needs no repair
};

bool HoldsOnlyPlain(const Tokenizer &tokenizer, const uint8_t *text, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    Utf8Head head = ReadUtf8(text + at, bytes - at);
    if (!(tokenizer.class_flags[tokenizer.ClassOf(head.code)] & kClassNfcPlain)) return false;
    at += head.length;
  }
  return true;
}

Layout LayOut(const Tokenizer &tokenizer, const uint8_t *text, size_t bytes) {
  Layout layout;
  layout.clean = RepairedBytes(text, bytes, &layout.valid);
  layout.copy = layout.valid ? 0 : AlignUp(layout.clean);
  layout.merge = layout.copy;
  uint64_t segment = layout.clean;
  bool normalises = (tokenizer.header->flags & kTokenizerNfc) && !HoldsOnlyPlain(tokenizer, text, bytes);
  bool prefixes = tokenizer.header->flags & kTokenizerPrefixSpace;
  if (normalises) segment *= 3;
  if (normalises || prefixes) {
    segment += 1;  // a space, or room for one
    layout.merge += AlignUp(segment);
  }
  layout.total = layout.merge + MergeScratchBytes(segment);
  static_assert(MergeScratchBytes(1) >= NfcScratchBytes(1), "normalising borrows merging's memory");
  return layout;
}

class Encoder {
 public:
  Encoder(const Tokenizer &tokenizer, const EncodeOptions &options, uint8_t *copy, void *merge, TokenSink *sink)
      : tokenizer_(tokenizer), options_(options), copy_(copy), merge_(merge), sink_(sink) {}

  // Added tokens that match the text as it is, and between them segments that are normalised first.
  // False: the tables make searching take too long.
  bool Text(const uint8_t *text, uint32_t bytes) {
    Added(0, text, bytes);
    return !overran_;
  }

 private:
  void Added(uint32_t root, const uint8_t *text, uint32_t bytes);
  void Segment(const uint8_t *text, uint32_t begin, uint32_t end);
  void Plain(const uint8_t *text, uint32_t begin, uint32_t end);
  void Merge(const uint8_t *text, uint32_t begin, uint32_t end);

  int32_t MatchAdded(uint32_t root, const uint8_t *text, uint32_t at, uint32_t bytes, uint32_t *end) const;
  bool HasFlag(const uint8_t *text, uint8_t flag) const {
    uint32_t length;
    return tokenizer_.class_flags[tokenizer_.ClassOf(ReadValidUtf8(text, &length))] & flag;
  }
  static uint32_t Before(const uint8_t *text, uint32_t at) {
    do {
      --at;
    } while ((text[at] & 0xc0) == 0x80);
    return at;
  }
  static uint32_t After(const uint8_t *text, uint32_t at) {
    uint32_t length;
    ReadValidUtf8(text + at, &length);
    return at + length;
  }

  const Tokenizer &tokenizer_;
  const EncodeOptions &options_;
  uint8_t *copy_;
  void *merge_;
  TokenSink *sink_;
  bool overran_ = false;
};

// The longest added token at `at`, or -1.
int32_t Encoder::MatchAdded(uint32_t root, const uint8_t *text, uint32_t at, uint32_t bytes, uint32_t *end) const {
  const AddedNode *node = tokenizer_.added + root;
  int32_t best = -1;
  while (at < bytes && node->children > 0) {
    const AddedNode *low = tokenizer_.added + node->first_child, *high = low + node->children;
    while (low < high) {  // the first child that is not below the byte
      const AddedNode *middle = low + (high - low) / 2;
      if (middle->byte < text[at]) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == tokenizer_.added + node->first_child + node->children || low->byte != text[at]) break;
    node = low;
    ++at;
    // On a character border only: damaged tables could hold a token that ends within one.
    if (node->id >= 0 && (at == bytes || (text[at] & 0xc0) != 0x80)) {
      best = node->id;
      *end = at;
    }
  }
  return best;
}

// Leftmost-longest matches of the added tokens under `root`; what lies between them goes on to the next step. A match
// that is refused (a special token in text, or part of a word) is skipped whole, as the `tokenizers` library does.
void Encoder::Added(uint32_t root, const uint8_t *text, uint32_t bytes) {
  uint32_t done = 0, at = 0;
  auto between = [&](uint32_t begin, uint32_t end) {
    if (root == 0) {
      Segment(text, begin, end);
    } else {
      Plain(text, begin, end);
    }
  };
  if (tokenizer_.added[root].children == 0) {
    if (bytes > 0) between(0, bytes);
    return;
  }
  while (at < bytes) {
    uint32_t stop = 0;
    int32_t id = MatchAdded(root, text, at, bytes, &stop);
    if (id < 0) {
      at = After(text, at);
      continue;
    }
    uint32_t start = at;
    at = stop;
    uint8_t flags = tokenizer_.token_flags[id];
    if ((flags & kTokenSpecial) && !options_.parse_special) continue;
    if (flags & kTokenSingleWord) {
      if (start > 0 && HasFlag(text + Before(text, start), kClassWord)) continue;
      if (stop < bytes && HasFlag(text + stop, kClassWord)) continue;
    }
    if (flags & kTokenStripLeft) {
      while (start > done && HasFlag(text + Before(text, start), kClassSpace)) start = Before(text, start);
      if (start < done) start = done;
    }
    if (flags & kTokenStripRight) {
      while (stop < bytes && HasFlag(text + stop, kClassSpace)) stop = After(text, stop);
    }
    if (done < start) between(done, start);
    sink_->Put(static_cast<uint32_t>(id));
    done = stop;
  }
  if (done < bytes) between(done, bytes);
}

void Encoder::Segment(const uint8_t *text, uint32_t begin, uint32_t end) {
  text += begin;
  uint32_t bytes = end - begin;
  if ((tokenizer_.header->flags & kTokenizerNfc) && !IsPlain(tokenizer_, text, bytes)) {
    bytes = NormalizeNfc(tokenizer_, text, bytes, merge_, copy_ + 1);
    text = copy_ + 1;
  }
  Added(1, text, bytes);
}

void Encoder::Plain(const uint8_t *text, uint32_t begin, uint32_t end) {
  if ((tokenizer_.header->flags & kTokenizerPrefixSpace) && text[begin] != ' ') {
    // In a normalised copy the byte before is free: it belongs to what was encoded already, or is the room for it.
    uint8_t *space = text == copy_ + 1 ? copy_ + begin : copy_;
    if (text != copy_ + 1) memcpy(copy_ + 1, text + begin, end - begin);
    *space = ' ';
    text = space;
    end = end - begin + 1;
    begin = 0;
  }
  Splitter splitter(tokenizer_, text, begin, end);
  Piece piece;
  while (splitter.Next(&piece)) MergePiece(tokenizer_, text + piece.begin, piece.end - piece.begin, merge_, sink_);
  overran_ = overran_ || splitter.overran();
}

}  // namespace

uint64_t EncodeScratchBytes(const Tokenizer &tokenizer, const void *text, size_t bytes) {
  return LayOut(tokenizer, static_cast<const uint8_t *>(text), bytes).total;
}

Status Encode(const Tokenizer &tokenizer, const void *text, size_t bytes, const EncodeOptions &options, void *scratch,
              size_t scratch_bytes, int32_t *ids, size_t capacity, size_t *count) {
  *count = 0;
  if (bytes > kLongestText) {
    return Error(StatusCode::kUsage, "the text is too long to be tokenized at once; at most (bytes)", kLongestText);
  }
  const uint8_t *source = static_cast<const uint8_t *>(text);
  Layout layout = LayOut(tokenizer, source, bytes);
  if (scratch_bytes < layout.total) {
    return Error(StatusCode::kUsage, "too little scratch memory to tokenize; needs (bytes)", layout.total);
  }
  uint8_t *base = static_cast<uint8_t *>(scratch);
  if (!layout.valid) {
    Repair(source, bytes, base);
    source = base;
  }
  TokenSink sink{ids, ids ? capacity : 0, 0};
  if (options.first_token && tokenizer.first_token >= 0) sink.Put(static_cast<uint32_t>(tokenizer.first_token));
  if (!Encoder(tokenizer, options, base + layout.copy, base + layout.merge, &sink)
           .Text(source, static_cast<uint32_t>(layout.clean))) {
    return Error(StatusCode::kBadBundle, "tokenizer: the split automata search too far");
  }
  *count = sink.count;
  return OkStatus();
}

const uint8_t *TokenBytes(const Tokenizer &tokenizer, int32_t id, size_t *bytes) {
  *bytes = 0;
  if (id < 0 || static_cast<uint32_t>(id) >= tokenizer.vocab || !(tokenizer.token_flags[id] & kTokenExists)) {
    return nullptr;
  }
  *bytes = tokenizer.token_offsets[id + 1] - tokenizer.token_offsets[id];
  return tokenizer.token_bytes + tokenizer.token_offsets[id];
}

bool IsSpecial(const Tokenizer &tokenizer, int32_t id) {
  return id >= 0 && static_cast<uint32_t>(id) < tokenizer.vocab && (tokenizer.token_flags[id] & kTokenSpecial);
}

}  // namespace emoe::rt
