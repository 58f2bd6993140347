// logits and eval.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/text/math.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/trace.h"
#include "tools/emoe-rt/verbs.h"
#include "tools/emoe-rt/vocabulary.h"

namespace emoe::rt {
namespace {

// The header of NumPy's format 1.0, padded to a multiple of 64.
bool WriteNpyHeader(int fd, uint64_t rows, uint32_t columns) {
  char header[192];
  memset(header, ' ', sizeof(header));
  memcpy(header, "\x93NUMPY\x01\x00", 8);
  int used = snprintf(header + 10, 160, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }",
                      static_cast<unsigned long long>(rows), columns);
  size_t total = (10 + static_cast<size_t>(used) + 1 + 63) / 64 * 64;
  header[10 + used] = ' ';
  header[total - 1] = '\n';
  header[8] = static_cast<char>((total - 10) & 0xff);
  header[9] = static_cast<char>((total - 10) >> 8);
  return WriteAll(fd, header, total);
}

struct NpySink {
  int fd;
  uint32_t vocab;
};

Status WriteRows(void *user, uint64_t, uint32_t count, const float *logits, uint64_t stride) {
  const auto &sink = *static_cast<const NpySink *>(user);
  for (uint32_t row = 0; row < count; ++row) {
    if (!WriteAll(sink.fd, logits + row * stride, sink.vocab * sizeof(float))) {
      return Error(StatusCode::kIo, "writing the logits failed after row", row, static_cast<uint64_t>(errno));
    }
  }
  return OkStatus();
}

// Row r of a window predicts token r of its text; `shift` 1: the window has no head, so it predicts token r + 1.
struct Score {
  const int32_t *text;
  uint64_t count;
  uint32_t vocab, shift;
  double nll = 0;
  uint64_t scored = 0;
};

Status AddRows(void *user, uint64_t first, uint32_t count, const float *logits, uint64_t stride) {
  auto &score = *static_cast<Score *>(user);
  for (uint32_t row = 0; row < count; ++row) {
    uint64_t target = first + row + score.shift;
    if (target >= score.count) break;
    score.nll += NegativeLogLikelihood(logits + row * stride, score.vocab, static_cast<uint32_t>(score.text[target]));
    ++score.scored;
  }
  return OkStatus();
}

}  // namespace

int LogitsVerb(const Options &options) {
  if (options.tokens == nullptr || options.output == nullptr) {
    return Fail(2, "logits needs --tokens FILE and -o OUT.npy: emoe-rt logits --help");
  }
  Work work(options);
  if (int code = work.Open()) return code;
  const int32_t *ids = nullptr;
  size_t count = 0;
  if (int code = work.ReadSequences(&ids, &count)) return code;
  uint32_t context = static_cast<uint32_t>(count > work.source_count ? count : work.source_count);
  if (int code = work.Check(context, true, false)) return code;
  int fd = open(options.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  NpySink sink{fd, work.bundle.model.vocab};
  if (fd < 0 || !WriteNpyHeader(fd, count, sink.vocab)) {
    return Fail(4, "%s: cannot write: %s", options.output, strerror(errno));
  }
  if (int code = work.MakeSession(context, true, false)) {
    unlink(options.output);
    return code;
  }
  Status status = work.Encode();
  if (status.ok()) status = work.session->Forward(ids, count, Want::kAll, {WriteRows, &sink});
  if (close(fd) != 0 && status.ok()) status = Error(StatusCode::kIo, "writing the logits failed", 0, errno);
  if (status.ok()) return 0;
  unlink(options.output);
  return work.Failed(status);
}

int EvalVerb(const Options &options) {
  if (options.text_count == 0) return Fail(2, "eval needs --text FILE...: emoe-rt eval --help");
  Work work(options);
  if (int code = work.Open()) return code;
  if (!work.bundle.tokenizer.present) {
    return Fail(6, "%s: it holds no tokenizer; compile the model with --tokenizer tokenizer.json", options.bundle);
  }
  if (int code = work.Check(options.window, true, false)) return code;
  // The ids take their memory before the session plans its own; the texts give theirs back.
  int32_t *ids[kMostTexts];
  size_t counts[kMostTexts];
  EncodeOptions encode;
  encode.first_token = false;
  for (size_t i = 0; i < options.text_count; ++i) {
    char *text = nullptr;
    size_t bytes = 0;
    if (!ReadWhole(options.texts[i], &text, &bytes)) {
      return Fail(4, "%s: cannot read the text: %s; check the path", options.texts[i], strerror(errno));
    }
    uint64_t capacity = MostTokens(bytes);
    auto *all = static_cast<int32_t *>(malloc(capacity * sizeof(int32_t)));
    if (all == nullptr) return Fail(5, "no memory for the token ids");
    Status status = EncodeText(work.provider, work.bundle.tokenizer, options.budget, text, bytes, encode, all, capacity,
                               &counts[i]);
    if (!status.ok()) return work.Failed(status);
    free(text);
    ids[i] = static_cast<int32_t *>(realloc(all, (counts[i] + 1) * sizeof(int32_t)));
  }
  auto *window = static_cast<int32_t *>(malloc((size_t{options.window} + 1) * sizeof(int32_t)));
  if (window == nullptr) return Fail(5, "no memory for the token ids");
  SessionOptions base;
  TraceFile trace;
  if (options.trace != nullptr) {
    uint32_t chunk = MostRows(work.bundle, options.chunk);
    if (int code = trace.Open(options.trace, work.bundle, chunk < options.window ? chunk : options.window)) return code;
    trace.Attach(&base);
  }
  if (int code = work.MakeSession(options.window, true, false, &base)) return code;

  int32_t head = work.bundle.model.first_token;
  double nll = 0;
  uint64_t scored = 0;
  for (size_t i = 0; i < options.text_count; ++i) {
    size_t count = counts[i];
    Status status = OkStatus();
    trace.Begin(options.texts[i]);
    for (size_t at = 0; at < count && status.ok(); at += options.window) {
      ShowProgress(options.texts[i], at, count);
      uint64_t length = count - at < options.window ? count - at : options.window;
      // The last token of a window predicts nothing: it is not computed.
      window[0] = head;
      memcpy(window + 1, ids[i] + at, length * sizeof(int32_t));
      Score score{ids[i] + at, length, work.bundle.model.vocab, head < 0 ? 1u : 0u, 0, 0};
      work.session->Reset();
      uint64_t computed = head < 0 ? length - 1 : length;
      if (computed == 0) continue;
      status = work.session->Forward(head < 0 ? window + 1 : window, computed, Want::kAll, {AddRows, &score});
      nll += score.nll;
      scored += score.scored;
    }
    ShowProgress("", 0, 0);
    if (!status.ok()) return work.Failed(status);
  }
  if (!trace.Close()) return Fail(4, "%s: cannot write the trace: %s", options.trace, strerror(errno));
  if (scored == 0) return Fail(2, "the texts hold no tokens to score");
  double mean = nll / static_cast<double>(scored);
  auto tokens = static_cast<unsigned long long>(scored);
  if (options.json) {
    Print("{\"tokens\": %llu, \"nll\": %.9g, \"perplexity\": %.9g}\n", tokens, mean, Exp(mean));
  } else {
    Print("%llu tokens, mean negative log-likelihood %.6f, perplexity %.4f\n", tokens, mean, Exp(mean));
  }
  return 0;
}

}  // namespace emoe::rt
