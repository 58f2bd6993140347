// What predicting experts did in a session.
#ifndef EMOE_TOOLS_EMOE_RT_PREFETCH_H_
#define EMOE_TOOLS_EMOE_RT_PREFETCH_H_

#include "runtime/engine/session.h"

namespace emoe::rt {

// Lines for people.
void PrintPrefetch(const Session &session, void (*print)(const char *format, ...));

// "prefetch": {...} on stdout.
void PrintPrefetchJson(const Session &session);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_PREFETCH_H_
