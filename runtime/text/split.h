// Cuts a segment of text into the pieces that are merged one by one: the pre-tokenizers, compiled to automata over
// character classes. Pieces come lazily, stage within stage, without memory beyond this object.
#ifndef EMOE_RUNTIME_TEXT_SPLIT_H_
#define EMOE_RUNTIME_TEXT_SPLIT_H_

#include "runtime/text/tokenizer_tables.h"

namespace emoe::rt {

struct Piece {
  uint32_t begin, end;
};

class Splitter {
 public:
  // `text` is valid UTF-8 and outlives the splitter; [begin, end) lies on character borders.
  Splitter(const Tokenizer &tokenizer, const uint8_t *text, uint32_t begin, uint32_t end);

  // The next piece, in order; never empty. False at the end, or if the automata search on in vain for longer than the
  // compiler's ever do: then `overran()`.
  bool Next(Piece *piece);
  bool overran() const { return steps_left_ < 0; }

 private:
  // One stage at work on one piece of the stage before it.
  struct Cursor {
    uint32_t at, end;     // what is left to search
    Piece match;          // found, but the gap before it was handed out first
    Piece ahead;          // an item that was looked at and not used
    bool has_match, has_ahead, ahead_is_match;
  };

  bool NextItem(const SplitStage &stage, Cursor *cursor, Piece *item, bool *is_match);
  bool NextRaw(const SplitStage &stage, Cursor *cursor, Piece *item, bool *is_match);
  bool NextOfStage(const SplitStage &stage, Cursor *cursor, Piece *piece);
  uint32_t MatchEnd(const SplitStage &stage, uint32_t begin, uint32_t end);

  const Tokenizer &tokenizer_;
  const uint8_t *text_;
  Cursor cursors_[kMaxStages];
  uint32_t depth_ = 0;  // stages that have work, or none if stage_count is 0
  Piece whole_;
  int64_t steps_left_;  // characters that all searches together may still read
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_SPLIT_H_
