// Complete UTF-8 out of arbitrary bytes. Invalid sequences become U+FFFD, one for each maximal subpart (Unicode 3.9,
// "U+FFFD substitution of maximal subparts"; what Python's errors="replace" does). No allocation; thread-compatible.
#ifndef EMOE_RUNTIME_TEXT_UTF8_H_
#define EMOE_RUNTIME_TEXT_UTF8_H_

#include <stddef.h>
#include <stdint.h>

namespace emoe::rt {

// What lies at the head of [text, text + bytes), bytes > 0.
struct Utf8Head {
  uint32_t code;      // the code point; U+FFFD for an invalid sequence
  uint32_t length;    // bytes that it takes, 1..4
  bool valid;         // false: `length` bytes are a maximal invalid subpart
  bool incomplete;    // invalid only because the text ends here: more bytes may complete it
};
Utf8Head ReadUtf8(const uint8_t *text, size_t bytes);

// The code point at `text` of text that is known to be valid UTF-8; `*length` gets its bytes.
inline uint32_t ReadValidUtf8(const uint8_t *text, uint32_t *length) {
  uint32_t first = text[0];
  if (first < 0x80) {
    *length = 1;
    return first;
  }
  if (first < 0xe0) {
    *length = 2;
    return (first & 0x1f) << 6 | (text[1] & 0x3f);
  }
  if (first < 0xf0) {
    *length = 3;
    return (first & 0x0f) << 12 | (text[1] & 0x3f) << 6 | (text[2] & 0x3f);
  }
  *length = 4;
  return (first & 0x07) << 18 | (text[1] & 0x3f) << 12 | (text[2] & 0x3f) << 6 | (text[3] & 0x3f);
}

// Writes `code` (a scalar value) to `out` (4 bytes); returns its bytes.
uint32_t WriteUtf8(uint32_t code, uint8_t *out);

// Bytes of `text` after replacement: `bytes` if it is valid, else at most 3 * bytes. `valid` may be null.
uint64_t RepairedBytes(const uint8_t *text, size_t bytes, bool *valid);

// Copies `text` to `out` (RepairedBytes long) with invalid sequences replaced.
void Repair(const uint8_t *text, size_t bytes, uint8_t *out);

// Turns the bytes of tokens into text as they come: holds back an incomplete sequence until it is completed or refuted.
class Utf8Stream {
 public:
  // Room that Push needs for `bytes` of input, and Finish for 0.
  static constexpr size_t OutputBytes(size_t bytes) { return 3 * (bytes + 3); }

  // Writes what has become certain to `out`; returns the bytes written. `out` must not overlap `in`.
  size_t Push(const uint8_t *in, size_t bytes, char *out);

  // The text ends: what is held back becomes U+FFFD. The stream can be used again.
  size_t Finish(char *out);

  size_t pending() const { return held_bytes_; }

 private:
  uint8_t held_[4] = {};
  uint8_t held_bytes_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_UTF8_H_
