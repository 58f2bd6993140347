// Routing of a trace (trace.h has its lines), put in place of a model's own while it is measured. A trace may have more
// layers than the model, whose layers then take the first ones; it chooses among as many experts or fewer, and exactly as
// many of them a token.
#ifndef EMOE_TOOLS_EMOE_RT_ROUTING_H_
#define EMOE_TOOLS_EMOE_RT_ROUTING_H_

#include "runtime/engine/session.h"

namespace emoe::rt {

class Routing {
 public:
  ~Routing();
  // Before the session plans its memory. Prints its errors and returns an exit code.
  int Open(const char *path, const Bundle &bundle);
  void Attach(SessionOptions *options);
  // The next sequence's first token has the routing of this one of the trace's, counted round and round.
  void StartAt(uint64_t token) { start_ = token; }
  uint64_t tokens() const { return tokens_; }

 private:
  static void Route(void *user, uint64_t position, uint32_t layer, int32_t *ids, uint32_t top_k);
  // One token's experts; prints its errors and returns an exit code.
  int ReadLine(const char *path, const char *line, const char *end, int32_t *row);

  const Bundle *bundle_ = nullptr;
  int32_t *ids_ = nullptr;  // [token, layer, choice]
  uint32_t row_ = 0;        // ids of a token
  uint64_t tokens_ = 0, start_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_ROUTING_H_
