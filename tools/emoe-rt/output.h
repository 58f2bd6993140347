// What people and programs read: stdout is the product, stderr the log.
#ifndef EMOE_TOOLS_EMOE_RT_OUTPUT_H_
#define EMOE_TOOLS_EMOE_RT_OUTPUT_H_

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/engine/session.h"

namespace emoe::rt {

// Formats at most 2047 bytes and writes them at once. Nothing is allocated.
void Print(const char *format, ...) __attribute__((format(printf, 1, 2)));  // stdout
void Log(const char *format, ...) __attribute__((format(printf, 1, 2)));    // stderr

// "emoe-rt: error: ..." on stderr; returns `code`.
int Fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One line that says what, where, why and what to do; returns the exit code. `session` may be null. Leaves the process
// if its storage hangs.
int Fail(const Status &status, const char *bundle, const Session *session);

// Writes all bytes; false if the descriptor does not take them.
bool WriteAll(int fd, const void *data, size_t bytes);

// A JSON string with its quotes; bytes must be UTF-8.
void PrintJsonString(const char *text, size_t bytes);

// A bar on a terminal, nothing elsewhere. `total` 0 ends the line.
void ShowProgress(const char *what, uint64_t done, uint64_t total);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_OUTPUT_H_
