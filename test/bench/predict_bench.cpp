// How well each predictor foresees experts (docs/prediction.md): tables of Markdown on standard output.
//   predict_bench BUNDLE TOKENS --fit TEXT... --judge TEXT...   runs both through the bundle, TOKENS of each text
//   predict_bench --trace FILE                                  the first half of its tokens fits, the second judges
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "compiler/plan/trace_file.h"
#include "compiler/predict/fit.h"
#include "compiler/predict/judge.h"
#include "runtime/engine/session.h"
#include "runtime/io/file.h"
#include "runtime/text/tokenizer.h"

namespace emoe {
namespace {

constexpr size_t kWindow = 512; // tokens of a document, headed by the model's first token

[[noreturn]] void die(const std::string &what) {
  std::fprintf(stderr, "predict_bench: %s\n", what.c_str());
  std::exit(1);
}
void check(const rt::Status &status, const std::string &what) {
  if (!status.ok()) {
    die(what + ": " + status.what + " " + std::to_string(status.detail));
  }
}

struct Recorder {
  Trace trace;
  uint64_t first = 0; // row of the document's first token

  static void experts(void *self, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t count) {
    auto &r = *static_cast<Recorder *>(self);
    std::copy_n(ids, count, &r.trace.experts[(r.first + position) * r.trace.row() + r.trace.column(layer)]);
  }
  static void ahead(void *self, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t count) {
    auto &r = *static_cast<Recorder *>(self);
    std::copy_n(ids, count, &r.trace.ahead[(r.first + position) * r.trace.aheadRow() + r.trace.aheadColumn(layer)]);
  }
};

std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    die(path + ": cannot be read");
  }
  return text.str();
}

Trace record(const std::string &bundlePath, const std::vector<std::string> &texts, size_t tokens) {
  rt::FileProvider provider;
  rt::Bundle bundle;
  check(provider.Open(bundlePath.c_str()), bundlePath);
  check(rt::OpenBundle(provider, &bundle), bundlePath);
  Recorder recorder;
  for (const rt::MoeLayer &layer : bundle.moe_layers) {
    recorder.trace.layers.push_back({layer.experts, layer.top_k});
  }
  rt::SessionOptions options;
  options.memory.threads = 2;
  options.memory.context = kWindow + 1;
  options.memory.chunk = 128;
  options.memory.tokenizer = true;
  options.trace = Recorder::experts;
  options.look_ahead = Recorder::ahead;
  options.trace_user = options.look_ahead_user = &recorder;
  rt::Session *session = nullptr;
  check(rt::Session::Create(bundle, provider, options, &session), bundlePath);
  rt::Tokenizer tokenizer;
  check(rt::OpenTokenizer(session->tokenizer(), bundle.tokenizer.length, &tokenizer), bundlePath);
  for (const std::string &path : texts) {
    std::string text = readFile(path).substr(0, tokens * 16);
    std::vector<uint64_t> scratch(rt::EncodeScratchBytes(tokenizer, text.data(), text.size()) / 8 + 1);
    std::vector<int32_t> ids(rt::MostTokens(text.size()));
    size_t count = 0;
    rt::EncodeOptions encode;
    encode.first_token = false;
    check(rt::Encode(tokenizer, text.data(), text.size(), encode, scratch.data(), scratch.size() * 8, ids.data(),
                     ids.size(), &count), path);
    ids.resize(std::min(count, tokens));
    recorder.trace.domains.push_back(path.substr(path.rfind('/') + 1));
    for (size_t at = 0; at < ids.size(); at += kWindow) {
      std::vector<int32_t> window;
      window.reserve(kWindow + 1);
      if (bundle.model.first_token >= 0) {
        window.push_back(bundle.model.first_token);
      }
      window.insert(window.end(), ids.begin() + at, ids.begin() + std::min(at + kWindow, ids.size()));
      Trace &trace = recorder.trace;
      recorder.first = trace.count();
      trace.documents.push_back({recorder.first, window.size(), uint32_t(trace.domains.size() - 1)});
      trace.experts.resize(trace.experts.size() + window.size() * trace.row(), -1);
      trace.ahead.resize(trace.count() * trace.aheadRow(), -1);
      session->Reset();
      check(session->Forward(window.data(), window.size(), rt::Want::kNone), path);
    }
  }
  rt::Session::Destroy(session);
  rt::CloseBundle(&bundle);
  return std::move(recorder.trace);
}

void print(const std::string &name, const Trace &fit, const Trace &judged) {
  std::printf("\n%s: %llu tokens judged\n\n| recall at k |", name.c_str(), static_cast<unsigned long long>(judged.count()));
  std::vector<LayerTables> tables = fitTables(fit);
  const bool wide = judged.layers.size() <= 16;
  for (size_t l = 0; wide && l < judged.layers.size(); ++l) {
    std::printf(" %zu |", l);
  }
  std::printf(" all layers (95 %%) | from layer 1 on | at 2k | precision at 2k |\n|---|");
  for (size_t l = 0; l < (wide ? judged.layers.size() : 0) + 4; ++l) {
    std::printf("---|");
  }
  std::printf("\n");
  bool ahead = !judged.ahead.empty();
  for (uint32_t kind = 1; kind < rt::kPredictorKinds; ++kind) {
    auto predictor = static_cast<rt::PredictorKind>(kind);
    if (predictor == rt::PredictorKind::kLookAhead && !ahead) {
      continue;
    }
    std::vector<Quality> q = judge(judged, tables, predictor);
    std::printf("| %s |", rt::PredictorName(predictor));
    double later = 0;
    for (size_t l = 0; l + 1 < q.size(); ++l) {
      if (wide && l == 0 && predictor == rt::PredictorKind::kLookAhead) {
        std::printf(" (%.3f) |", q[l].recall); // nothing looks ahead to it: the prior
      } else if (wide) {
        std::printf(" %.3f |", q[l].recall);
      }
      later += l > 0 ? q[l].recall / double(q.size() - 2) : 0;
    }
    std::printf(" %.3f (%.3f - %.3f) | %.3f | %.3f | %.3f |\n", q.back().recall, q.back().recallLow, q.back().recallHigh,
                later, q.back().recall2k, q.back().precision2k);
    if (wide && judged.count() > 2000) {
      std::printf("| +- |");
      for (size_t l = 0; l + 1 < q.size(); ++l) {
        std::printf(" %.3f |", (q[l].recallHigh - q[l].recallLow) / 2);
      }
      std::printf(" | | | |\n");
    }
  }
}

int run(int argc, char **argv) {
  if (argc == 3 && !std::strcmp(argv[1], "--trace")) {
    absl::StatusOr<Trace> trace = readTrace(argv[2]);
    if (!trace.ok()) {
      die(std::string(trace.status().message()));
    }
    uint64_t half = trace->count() / 2;
    print(argv[2], sliceTrace(*trace, 0, half), sliceTrace(*trace, half, trace->count() - half));
    return 0;
  }
  std::vector<std::string> fit, judged;
  std::vector<std::string> *list = nullptr;
  for (int i = 3; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--fit")) {
      list = &fit;
    } else if (!std::strcmp(argv[i], "--judge")) {
      list = &judged;
    } else if (list) {
      list->push_back(argv[i]);
    }
  }
  size_t tokens = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (fit.empty() || judged.empty() || tokens == 0) {
    die("BUNDLE TOKENS --fit TEXT... --judge TEXT..., or --trace FILE");
  }
  Trace fitted = record(argv[1], fit, tokens);
  for (const std::string &text : judged) {
    print(text.substr(text.rfind('/') + 1), fitted, record(argv[1], {text}, tokens));
  }
  return 0;
}

} // namespace
} // namespace emoe

int main(int argc, char **argv) { return emoe::run(argc, argv); }
