// From a command line to a bundle and a session.
#ifndef EMOE_TOOLS_EMOE_RT_START_H_
#define EMOE_TOOLS_EMOE_RT_START_H_

#include <atomic>

#include "runtime/engine/session.h"
#include "runtime/io/file.h"
#include "tools/emoe-rt/flags.h"

namespace emoe::rt {

// Set by SIGINT; a second SIGINT leaves at once.
extern std::atomic<bool> interrupted;
void CatchInterrupts();

// An open bundle and, after MakeSession, its session; both end with it. The functions print their errors and return an
// exit code, 0 if all is well.
struct Work {
  explicit Work(const Options &o) : options(o) {}
  ~Work();

  int Open();
  // Refuses at once what cannot work: no model in the bundle, no tokenizer where text goes in or out, no kernels for this
  // processor, a budget below the floor.
  int Check(uint32_t context, bool all_logits, bool tokenizer);
  // Unless --no-sandbox is given, the process can open no more files afterwards: what the verb writes is opened before.
  // `context` and `all_logits` as the verb needs them; `tokenizer`: text goes in or out.
  int MakeSession(uint32_t context, bool all_logits, bool tokenizer, SessionOptions *base = nullptr);
  // Reads --tokens and --decoder-tokens and sees that the model takes them: `ids` are those that Forward gets. Before Check.
  int ReadSequences(const int32_t **ids, size_t *count);
  // Gives the encoder its tokens, if there is one. After MakeSession.
  Status Encode() { return source != nullptr ? session->Encode(source, source_count) : OkStatus(); }
  int Failed(const Status &status) const;
  MemoryOptions Memory(uint32_t context, bool all_logits, bool tokenizer) const;

  const Options &options;
  FileProvider provider;
  Bundle bundle;
  Session *session = nullptr;
  const int32_t *source = nullptr;  // the encoder's tokens
  size_t source_count = 0;
};

// Threads to compute with if nothing else was said.
uint32_t DefaultThreads();

// A whole file in memory of its own, for the process's life. False: errno says why.
bool ReadWhole(const char *path, char **text, size_t *bytes);
bool ReadStandardInput(char **text, size_t *bytes);

// A file of token ids, plain numbers between spaces or commas, in memory of their own. Prints its errors and returns an
// exit code.
int ReadTokens(const char *path, const int32_t **ids, size_t *count);

// "prompt 37 tok 4.1 t/s | ..." parts that several verbs print.
double PerSecond(uint64_t tokens, uint64_t nanoseconds);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_START_H_
