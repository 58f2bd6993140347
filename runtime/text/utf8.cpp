#include "runtime/text/utf8.h"

#include <string.h>

namespace emoe::rt {

Utf8Head ReadUtf8(const uint8_t *text, size_t bytes) {
  constexpr uint32_t kReplacement = 0xfffd;
  uint8_t first = text[0];
  if (first < 0x80) return {first, 1, true, false};
  // Unicode table 3-7: which second bytes a first byte allows; all later bytes are 80..BF.
  uint32_t length, code;
  uint8_t low = 0x80, high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
    code = first & 0x1f;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    code = first & 0x0f;
    if (first == 0xe0) low = 0xa0;   // no overlong forms
    if (first == 0xed) high = 0x9f;  // no surrogates
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    code = first & 0x07;
    if (first == 0xf0) low = 0x90;   // no overlong forms
    if (first == 0xf4) high = 0x8f;  // nothing above U+10FFFF
  } else {
    return {kReplacement, 1, false, false};
  }
  for (uint32_t i = 1; i < length; ++i) {
    if (i == bytes) return {kReplacement, i, false, true};
    if (text[i] < low || text[i] > high) return {kReplacement, i, false, false};
    code = code << 6 | (text[i] & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  return {code, length, true, false};
}

uint32_t WriteUtf8(uint32_t code, uint8_t *out) {
  if (code < 0x80) {
    out[0] = static_cast<uint8_t>(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = static_cast<uint8_t>(0xc0 | code >> 6);
    out[1] = static_cast<uint8_t>(0x80 | (code & 0x3f));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = static_cast<uint8_t>(0xe0 | code >> 12);
    out[1] = static_cast<uint8_t>(0x80 | (code >> 6 & 0x3f));
    out[2] = static_cast<uint8_t>(0x80 | (code & 0x3f));
    return 3;
  }
  out[0] = static_cast<uint8_t>(0xf0 | code >> 18);
  out[1] = static_cast<uint8_t>(0x80 | (code >> 12 & 0x3f));
  out[2] = static_cast<uint8_t>(0x80 | (code >> 6 & 0x3f));
  out[3] = static_cast<uint8_t>(0x80 | (code & 0x3f));
  return 4;
}

uint64_t RepairedBytes(const uint8_t *text, size_t bytes, bool *valid) {
  uint64_t result = 0;
  bool all_valid = true;
  for (size_t at = 0; at < bytes;) {
    if (text[at] < 0x80) {
      ++at;
      ++result;
      continue;
    }
    Utf8Head head = ReadUtf8(text + at, bytes - at);
    at += head.length;
    result += head.valid ? head.length : 3;
    all_valid = all_valid && head.valid;
  }
  if (valid) *valid = all_valid;
  return result;
}

void Repair(const uint8_t *text, size_t bytes, uint8_t *out) {
  for (size_t at = 0; at < bytes;) {
    Utf8Head head = ReadUtf8(text + at, bytes - at);
    out += WriteUtf8(head.code, out);
    at += head.length;
  }
}

size_t Utf8Stream::Push(const uint8_t *in, size_t bytes, char *out) {
  uint8_t *to = reinterpret_cast<uint8_t *>(out);
  size_t at = 0;
  // Complete or refute what is held back, a byte at a time: at most four times.
  while (held_bytes_ > 0 && at < bytes) {
    held_[held_bytes_++] = in[at];
    Utf8Head head = ReadUtf8(held_, held_bytes_);
    if (head.incomplete) {
      ++at;
      continue;
    }
    to += WriteUtf8(head.code, to);
    if (head.length == held_bytes_) ++at;  // else the new byte begins something of its own
    held_bytes_ = 0;
  }
  while (at < bytes) {
    Utf8Head head = ReadUtf8(in + at, bytes - at);
    if (head.incomplete) {
      held_bytes_ = static_cast<uint8_t>(head.length);
      memcpy(held_, in + at, head.length);
      break;
    }
    to += WriteUtf8(head.code, to);
    at += head.length;
  }
  return static_cast<size_t>(to - reinterpret_cast<uint8_t *>(out));
}

size_t Utf8Stream::Finish(char *out) {
  if (held_bytes_ == 0) return 0;
  held_bytes_ = 0;
  return WriteUtf8(0xfffd, reinterpret_cast<uint8_t *>(out));
}

}  // namespace emoe::rt
