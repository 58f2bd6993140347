#include "tools/emoe-rt/output.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

namespace emoe::rt {
namespace {

void Write(int fd, const char *prefix, const char *format, va_list arguments, const char *suffix) {
  char text[2048];
  int head = snprintf(text, sizeof(text), "%s", prefix);
  int body = vsnprintf(text + head, sizeof(text) - head - 2, format, arguments);
  size_t length = static_cast<size_t>(head) + (body < 0 ? 0 : static_cast<size_t>(body));
  if (length > sizeof(text) - 3) length = sizeof(text) - 3;
  memcpy(text + length, suffix, strlen(suffix));
  WriteAll(fd, text, length + strlen(suffix));
}

}  // namespace

bool WriteAll(int fd, const void *data, size_t bytes) {
  const char *at = static_cast<const char *>(data);
  while (bytes != 0) {
    ssize_t written = write(fd, at, bytes);
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) {
      at += written;
      bytes -= static_cast<size_t>(written);
    }
  }
  return true;
}

void Print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  Write(STDOUT_FILENO, "", format, arguments, "");
  va_end(arguments);
}

void Log(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  Write(STDERR_FILENO, "", format, arguments, "");
  va_end(arguments);
}

int Fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  Write(STDERR_FILENO, "emoe-rt: error: ", format, arguments, "\n");
  va_end(arguments);
  return code;
}

int Fail(const Status &status, const char *bundle, const Session *session) {
  int code = static_cast<int>(status.code);
  const char *what = status.what;
  auto detail = static_cast<unsigned long long>(status.detail), more = static_cast<unsigned long long>(status.detail2);
  char first[32] = "", second[32] = "";  // numbers that say something
  if (detail != 0) snprintf(first, sizeof(first), " %llu", detail);
  if (more != 0) snprintf(second, sizeof(second), " (%llu)", more);
  const RecordFailure *failure = session != nullptr && session->failure().happened ? &session->failure() : nullptr;
  switch (status.code) {
    case StatusCode::kBadBundle:
      if (failure != nullptr) {
        Fail(code, "%s: layer %u expert %u @0x%llx, chunk %u: damaged (CRC %08x, not %08x); get the bundle again or "
             "compile it again", bundle, failure->layer, failure->expert,
             static_cast<unsigned long long>(failure->offset), failure->chunk, failure->actual_crc,
             failure->expected_crc);
      } else {
        Fail(code, "%s: %s%s%s; get the bundle again or compile it again", bundle, what, first, second);
      }
      break;
    case StatusCode::kIo:
      Fail(code, "%s: %s%s%s%s; check the path and the device, then try again", bundle, what, first,
           more != 0 ? ": " : "", more != 0 ? strerror(static_cast<int>(more)) : "");
      if (failure != nullptr) {
        Log("emoe-rt: note: it was the record of layer %u expert %u @0x%llx\n", failure->layer, failure->expert,
            static_cast<unsigned long long>(failure->offset));
      }
      break;
    case StatusCode::kBudget:
      Fail(code, "%s: %s %llu (%.1f MiB)%s; use --memory-budget %llu or more, or a smaller --ctx or --prefill-chunk",
           bundle, what, detail, static_cast<double>(detail) / 1048576, more != 0 ? " for what was asked" : "", detail);
      break;
    case StatusCode::kUnsupported:
      Fail(code, "%s: %s%s%s", bundle, what, first, second);
      break;
    default:
      Fail(code, "%s: %s%s%s", bundle, what, first, second);
  }
  if (session != nullptr && session->hung()) _exit(code);  // a thread that waits for the device cannot be joined
  return code;
}

void PrintJsonString(const char *text, size_t bytes) {
  char out[1024];
  size_t used = 0;
  out[used++] = '"';
  for (size_t i = 0; i < bytes; ++i) {
    if (used > sizeof(out) - 16) {
      WriteAll(STDOUT_FILENO, out, used);
      used = 0;
    }
    uint8_t byte = static_cast<uint8_t>(text[i]);
    if (byte == '"' || byte == '\\') {
      out[used++] = '\\';
      out[used++] = text[i];
    } else if (byte < 0x20 || byte == 0x7f) {
      used += static_cast<size_t>(snprintf(out + used, 8, "\\u%04x", byte));
    } else {
      out[used++] = text[i];
    }
  }
  out[used++] = '"';
  WriteAll(STDOUT_FILENO, out, used);
}

void ShowProgress(const char *what, uint64_t done, uint64_t total) {
  static int shown = -1;
  if (!isatty(STDERR_FILENO)) return;
  if (total == 0) {
    if (shown >= 0) Log("\r\033[K");
    shown = -1;
    return;
  }
  int percent = static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
  if (percent == shown) return;
  shown = percent;
  char bar[41];
  for (int i = 0; i < 40; ++i) bar[i] = i < percent * 40 / 100 ? '#' : '.';
  bar[40] = 0;
  Log("\r%s [%s] %3d %%", what, bar, percent);
}

}  // namespace emoe::rt
