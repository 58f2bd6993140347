#include "runtime/text/split.h"

#include "runtime/text/utf8.h"

namespace emoe::rt {

Splitter::Splitter(const Tokenizer &tokenizer, const uint8_t *text, uint32_t begin, uint32_t end)
    : tokenizer_(tokenizer), text_(text), whole_{begin, end} {
  // Of each search: its match, what the next one swallows, and kMaxSilentSteps more (compiler/tokenizer/automaton.cpp).
  steps_left_ = static_cast<int64_t>(end - begin + 1) * (kMaxSilentSteps + 4) * (tokenizer.stage_count + 1);
  if (tokenizer.stage_count > 0 && begin < end) {
    cursors_[0] = {begin, end, {}, {}, false, false, false};
    depth_ = 1;
  }
}

// Where the best match that begins at `begin` ends; `begin` if there is none. The last acceptance on the way is the
// best one: the automaton drops what ranks behind a match (compiler/tokenizer/automaton.h).
uint32_t Splitter::MatchEnd(const SplitStage &stage, uint32_t begin, uint32_t end) {
  const uint16_t *transitions = tokenizer_.transitions + static_cast<size_t>(stage.first_state) * tokenizer_.classes;
  const uint8_t *accepts = tokenizer_.accepts + stage.first_state;
  uint32_t state = 1, best = begin, at = begin;
  while (at < end) {
    uint32_t length;
    uint32_t code = ReadValidUtf8(text_ + at, &length);
    state = transitions[state * tokenizer_.classes + tokenizer_.ClassOf(code)];
    if (state == 0) return best;
    if (--steps_left_ < 0) return best;
    uint8_t accept = accepts[state];
    if (accept & kAcceptHere) {
      best = at + length;
    } else if (accept & kAcceptBefore) {
      best = at;
    }
    at += length;
  }
  return accepts[state] & kAcceptAtEnd ? at : best;
}

// Matches, and gaps between them, in turn; together they cover the piece.
bool Splitter::NextRaw(const SplitStage &stage, Cursor *cursor, Piece *item, bool *is_match) {
  if (cursor->has_match) {
    cursor->has_match = false;
    *item = cursor->match;
    *is_match = true;
    return true;
  }
  uint32_t begin = cursor->at;
  if (begin == cursor->end) return false;
  for (uint32_t at = begin; at < cursor->end;) {
    uint32_t end = MatchEnd(stage, at, cursor->end);
    if (end > at) {
      cursor->at = end;
      *is_match = at == begin;
      if (*is_match) {
        *item = {at, end};
      } else {
        *item = {begin, at};
        cursor->match = {at, end};
        cursor->has_match = true;
      }
      return true;
    }
    uint32_t length;
    ReadValidUtf8(text_ + at, &length);
    at += length;
  }
  cursor->at = cursor->end;
  *item = {begin, cursor->end};
  *is_match = false;
  return true;
}

bool Splitter::NextItem(const SplitStage &stage, Cursor *cursor, Piece *item, bool *is_match) {
  if (cursor->has_ahead) {
    cursor->has_ahead = false;
    *item = cursor->ahead;
    *is_match = cursor->ahead_is_match;
    return true;
  }
  if (!NextRaw(stage, cursor, item, is_match)) return false;
  *is_match = *is_match != (stage.invert != 0);
  return true;
}

bool Splitter::NextOfStage(const SplitStage &stage, Cursor *cursor, Piece *piece) {
  bool is_match;
  do {
    if (!NextItem(stage, cursor, piece, &is_match)) return false;
  } while (is_match && stage.behaviour == SplitBehaviour::kRemoved);
  if (stage.behaviour == SplitBehaviour::kIsolated || stage.behaviour == SplitBehaviour::kRemoved) return true;

  // The others join neighbours: runs of one kind, a gap with the match behind it, or a match with the gap behind it.
  Piece next;
  bool next_is_match;
  while (NextItem(stage, cursor, &next, &next_is_match)) {
    bool joins = stage.behaviour == SplitBehaviour::kContiguous           ? next_is_match == is_match
                 : stage.behaviour == SplitBehaviour::kMergedWithPrevious ? next_is_match && !is_match
                                                                          : !next_is_match && is_match;
    if (!joins) {
      cursor->ahead = next;
      cursor->ahead_is_match = next_is_match;
      cursor->has_ahead = true;
      return true;
    }
    piece->end = next.end;
    is_match = next_is_match;
    if (stage.behaviour != SplitBehaviour::kContiguous) return true;
  }
  return true;
}

bool Splitter::Next(Piece *piece) {
  if (tokenizer_.stage_count == 0) {
    *piece = whole_;
    whole_.begin = whole_.end;
    return piece->begin < piece->end;
  }
  while (depth_ > 0 && !overran()) {
    if (!NextOfStage(tokenizer_.stages[depth_ - 1], &cursors_[depth_ - 1], piece)) {
      --depth_;
    } else if (depth_ == tokenizer_.stage_count) {
      return true;
    } else {
      cursors_[depth_++] = {piece->begin, piece->end, {}, {}, false, false, false};
    }
  }
  return false;
}

}  // namespace emoe::rt
