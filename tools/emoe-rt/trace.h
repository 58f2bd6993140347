// Which experts tokens chose, as JSON lines: {"tok": 1, "layers": [[experts], ...]}, `tok` counting from 1 in each
// sequence; "domain" names the text at its beginning. Where the program looks ahead, "ahead" has for each layer the
// experts that its router preferred one layer earlier, the best first. emoe-replay reads it.
#ifndef EMOE_TOOLS_EMOE_RT_TRACE_H_
#define EMOE_TOOLS_EMOE_RT_TRACE_H_

#include "runtime/engine/session.h"

namespace emoe::rt {

class TraceFile {
 public:
  ~TraceFile();
  // Before the session plans its memory: the lines of one chunk (of at most `chunk` tokens) are kept until their last
  // layer ran. An exit code.
  int Open(const char *path, const Bundle &bundle, uint32_t chunk);
  // Makes the session tell this file.
  void Attach(SessionOptions *options);
  // The next token is the first of a text; its name without folders.
  void Begin(const char *text);
  // False: not all could be written.
  bool Close();

 private:
  static void Routed(void *user, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t top_k);
  static void LookedAhead(void *user, uint64_t position, uint32_t layer, const int32_t *ranked, uint32_t count);
  void Line(uint64_t position);
  void Put(const char *text);
  void PutList(const int32_t *ids, uint32_t count);
  void Flush();

  const Bundle *bundle_ = nullptr;
  int fd_ = -1;
  bool ok_ = true, looks_ahead_ = false;
  uint32_t chunk_ = 0, row_ = 0;  // row_: ids kept for a token, chosen ones then looked-ahead ones
  int32_t *ids_ = nullptr;
  const char *text_ = nullptr;
  size_t used_ = 0;
  char buffer_[4096];
};

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_TRACE_H_
