#include "compiler/plan/trace_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "schema/limits.h"

namespace emoe {
namespace {

// The chosen experts of each token and layer, before it is known how many there are at most.
using Token = std::vector<std::vector<int32_t>>;

absl::Status bad(const std::string &name, size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", line, ": ", what));
}

// Just enough JSON for a line: values are skipped or taken as they come.
class Json {
public:
  explicit Json(absl::string_view text) : text(text) {}

  bool take(char c) {
    skipSpace();
    if (at == text.size() || text[at] != c) {
      return false;
    }
    ++at;
    return true;
  }
  bool atEnd() {
    skipSpace();
    return at == text.size();
  }
  // Without escapes: names of members and texts have none.
  bool string(std::string *out) {
    if (!take('"')) {
      return false;
    }
    size_t end = text.find('"', at);
    if (end == absl::string_view::npos || text.substr(at, end - at).find('\\') != absl::string_view::npos) {
      return false;
    }
    *out = std::string(text.substr(at, end - at));
    at = end + 1;
    return true;
  }
  bool integer(int64_t *out) {
    skipSpace();
    size_t end = at;
    while (end < text.size() && (absl::ascii_isdigit(text[end]) || text[end] == '-')) {
      ++end;
    }
    bool ok = end != at && absl::SimpleAtoi(text.substr(at, end - at), out);
    at = end;
    return ok;
  }
  bool skipValue(int depth = 0) {
    skipSpace();
    if (at == text.size() || depth > 16) {
      return false;
    }
    char open = text[at];
    if (open == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at) {
        at += text[at] == '\\';
      }
      return at < text.size() && text[at++] == '"';
    }
    if (open != '[' && open != '{') {
      size_t begin = at;
      while (at < text.size() && (absl::ascii_isalnum(text[at]) || strchr("+-.", text[at]) != nullptr)) {
        ++at;
      }
      return at != begin;
    }
    ++at;
    char close = open == '[' ? ']' : '}';
    if (take(close)) {
      return true;
    }
    do {
      std::string key;
      if (open == '{' && !(string(&key) && take(':'))) {
        return false;
      }
      if (!skipValue(depth + 1)) {
        return false;
      }
    } while (take(','));
    return take(close);
  }

private:
  void skipSpace() {
    while (at < text.size() && absl::ascii_isspace(text[at])) {
      ++at;
    }
  }
  absl::string_view text;
  size_t at = 0;
};

bool takeLayers(Json &json, Token *token) {
  if (!json.take('[')) {
    return false;
  }
  if (json.take(']')) {
    return true;
  }
  do {
    std::vector<int32_t> &ids = token->emplace_back();
    if (!json.take('[')) {
      return false;
    }
    if (json.take(']')) {
      continue;
    }
    do {
      int64_t id = 0;
      if (!json.integer(&id) || id < 0 || id >= EMOE_LIMIT_EXPERTS) {
        return false;
      }
      ids.push_back(static_cast<int32_t>(id));
    } while (json.take(','));
    if (!json.take(']')) {
      return false;
    }
  } while (json.take(','));
  return json.take(']');
}

struct Draft {
  std::vector<Token> tokens, ahead; // ahead: empty, or of every token
  std::vector<std::pair<uint64_t, std::string>> documents; // first token, domain ("": that of the one before)
  uint32_t experts = 0;                                    // of every layer, or 0: not known
};

absl::Status addJsonLine(absl::string_view text, const std::string &name, size_t line, int64_t *last, Draft *draft) {
  Json json(text);
  int64_t number = *last + 1;
  bool hasLayers = false, ok = json.take('{');
  std::string domain;
  Token token, ahead;
  do {
    std::string key;
    ok = ok && json.string(&key) && json.take(':');
    if (!ok) {
      break;
    }
    if (key == "tok") {
      ok = json.integer(&number);
    } else if (key == "domain") {
      ok = json.string(&domain);
    } else if (key == "layers") {
      ok = !hasLayers && takeLayers(json, &token);
      hasLayers = true;
      if (!ok) {
        return bad(name, line, absl::StrCat("\"layers\" is not a list of lists of expert numbers below ",
                                            EMOE_LIMIT_EXPERTS));
      }
    } else if (key == "ahead") {
      if (!takeLayers(json, &ahead)) {
        return bad(name, line, "\"ahead\" is not a list of lists of expert numbers");
      }
    } else {
      ok = json.skipValue();
    }
  } while (ok && json.take(','));
  if (!ok || !json.take('}') || !json.atEnd()) {
    return bad(name, line, "not a JSON object on one line");
  }
  if (!hasLayers) {
    return bad(name, line, "no \"layers\": each line must be {\"tok\": N, \"layers\": [[experts], ...]}");
  }
  if (draft->tokens.empty() || number <= *last) {
    draft->documents.push_back({draft->tokens.size(), domain});
  }
  *last = number;
  if (!ahead.empty() && draft->ahead.size() == draft->tokens.size()) {
    draft->ahead.push_back(std::move(ahead));
  }
  draft->tokens.push_back(std::move(token));
  return absl::OkStatus();
}

absl::StatusOr<Draft> parseJsonLines(const std::vector<absl::string_view> &lines, const std::string &name) {
  Draft draft;
  int64_t last = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (absl::StripAsciiWhitespace(lines[i]).empty()) {
      continue;
    }
    absl::Status status = addJsonLine(lines[i], name, i + 1, &last, &draft);
    if (!status.ok()) {
      return status;
    }
  }
  return draft;
}

absl::StatusOr<Draft> parseCsv(const std::vector<absl::string_view> &lines, const std::string &name) {
  static constexpr const char *columns[] = {"turn", "phase", "step", "layer", "expert"};
  Draft draft;
  std::map<std::string, size_t> where;
  std::map<std::vector<int64_t>, size_t> tokens; // prompts are recorded layer by layer
  int64_t turn = -1;
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::string_view line = absl::StripAsciiWhitespace(lines[i]);
    if (line.empty()) {
      continue;
    }
    if (line[0] == '#') {
      for (absl::string_view word : absl::StrSplit(line, ' ')) {
        std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
        if (pair.first == "n_expert" &&
            (!absl::SimpleAtoi(pair.second, &draft.experts) || draft.experts > EMOE_LIMIT_EXPERTS)) {
          return bad(name, i + 1, "n_expert is no number of experts");
        }
      }
      continue;
    }
    std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
    if (where.empty()) {
      for (size_t f = 0; f < fields.size(); ++f) {
        where[std::string(fields[f])] = f;
      }
      for (const char *column : columns) {
        if (where.count(column) == 0) {
          return bad(name, i + 1, absl::StrCat("neither a JSON line nor a header with the columns ",
                                               absl::StrJoin(columns, ", ")));
        }
      }
      continue;
    }
    std::vector<int64_t> value;
    for (const char *column : columns) {
      size_t f = where[column];
      if (f >= fields.size() || !absl::SimpleAtoi(fields[f], &value.emplace_back()) || value.back() < 0) {
        return bad(name, i + 1, absl::StrCat("no whole number in the column ", column));
      }
    }
    std::vector<int64_t> token(value.begin(), value.begin() + 3);
    auto [found, isNew] = tokens.try_emplace(token, draft.tokens.size());
    if (isNew) {
      if (token[0] != turn) {
        draft.documents.push_back({draft.tokens.size(), absl::StrCat("turn ", token[0])});
      }
      draft.tokens.emplace_back();
      turn = token[0];
    }
    if (value[3] >= EMOE_LIMIT_LAYERS || value[4] >= EMOE_LIMIT_EXPERTS ||
        (draft.experts != 0 && value[4] >= draft.experts)) {
      return bad(name, i + 1, "the layer or the expert is larger than the model can have");
    }
    Token &layers = draft.tokens[found->second];
    layers.resize(std::max<size_t>(layers.size(), static_cast<size_t>(value[3]) + 1));
    layers[static_cast<size_t>(value[3])].push_back(static_cast<int32_t>(value[4]));
  }
  return draft;
}

absl::Status addAhead(const Draft &draft, const std::string &name, Trace *trace) {
  for (size_t t = 0; t < draft.ahead.size(); ++t) {
    for (size_t l = 0; l < trace->layers.size(); ++l) {
      const size_t wanted = trace->aheadColumn(l + 1) - trace->aheadColumn(l);
      std::vector<int32_t> ids = l < draft.ahead[t].size() ? draft.ahead[t][l] : std::vector<int32_t>();
      bool known = ids.size() == wanted;
      if (!ids.empty() && (!known || *std::max_element(ids.begin(), ids.end()) >=
                                         static_cast<int32_t>(trace->layers[l].experts))) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": token ", t + 1, ": \"ahead\" of layer ", l, " must have ",
                                                       wanted, " experts or none"));
      }
      ids.resize(wanted, -1);
      trace->ahead.insert(trace->ahead.end(), ids.begin(), ids.end());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Trace> finish(Draft draft, const std::string &name) {
  Trace trace;
  for (size_t t = 0; t < draft.tokens.size(); ++t) {
    Token &token = draft.tokens[t];
    trace.layers.resize(std::max(trace.layers.size(), token.size()));
    for (size_t l = 0; l < token.size(); ++l) {
      std::sort(token[l].begin(), token[l].end());
      if (std::adjacent_find(token[l].begin(), token[l].end()) != token[l].end()) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": token ", t + 1, " chooses an expert of layer ", l, " twice"));
      }
      TraceLayer &layer = trace.layers[l];
      layer.topK = std::max(layer.topK, static_cast<uint32_t>(token[l].size()));
      if (!token[l].empty()) {
        draft.experts = std::max(draft.experts, static_cast<uint32_t>(token[l].back()) + 1);
      }
    }
  }
  if (draft.tokens.empty() || trace.layers.empty() || draft.experts == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": holds no routing; a trace is JSON lines {\"tok\": N, \"layers\": [[experts], ...]} or a CSV with the "
              "columns turn, phase, step, layer and expert"));
  }
  for (TraceLayer &layer : trace.layers) {
    layer.experts = draft.experts;
    layer.topK = std::max(layer.topK, 1u);
  }
  for (const Token &token : draft.tokens) {
    for (size_t l = 0; l < trace.layers.size(); ++l) {
      size_t known = l < token.size() ? token[l].size() : 0;
      if (known != 0) {
        trace.experts.insert(trace.experts.end(), token[l].begin(), token[l].end());
      }
      trace.experts.insert(trace.experts.end(), trace.layers[l].topK - known, -1);
    }
  }
  if (draft.ahead.size() == draft.tokens.size()) {
    absl::Status status = addAhead(draft, name, &trace);
    if (!status.ok()) {
      return status;
    }
  }
  for (size_t d = 0; d < draft.documents.size(); ++d) {
    auto &[first, domain] = draft.documents[d];
    uint64_t end = d + 1 < draft.documents.size() ? draft.documents[d + 1].first : draft.tokens.size();
    if (trace.domains.empty() || (!domain.empty() && domain != trace.domains.back())) {
      trace.domains.push_back(domain.empty() ? name : domain);
    }
    trace.documents.push_back({first, end - first, static_cast<uint32_t>(trace.domains.size() - 1)});
  }
  return trace;
}

} // namespace

absl::StatusOr<Trace> parseTrace(absl::string_view bytes, const std::string &name) {
  std::vector<absl::string_view> lines = absl::StrSplit(bytes, '\n');
  size_t begin = 0;
  while (begin < bytes.size() && absl::ascii_isspace(bytes[begin])) {
    ++begin;
  }
  bool json = begin < bytes.size() && bytes[begin] == '{';
  absl::StatusOr<Draft> draft = json ? parseJsonLines(lines, name) : parseCsv(lines, name);
  if (!draft.ok()) {
    return draft.status();
  }
  return finish(std::move(*draft), name);
}

absl::StatusOr<Trace> readTrace(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  if (!file || !(bytes << file.rdbuf())) {
    if (file && file.eof()) {
      return parseTrace("", path);
    }
    return absl::NotFoundError(absl::StrCat(path, ": cannot read the trace: ", strerror(errno)));
  }
  return parseTrace(bytes.str(), path);
}

std::string formatTrace(const Trace &trace) {
  std::string out;
  const size_t row = trace.row();
  for (size_t d = 0; d < trace.documents.size(); ++d) {
    const TraceDocument &document = trace.documents[d];
    for (uint64_t t = 0; t < document.tokens; ++t) {
      absl::StrAppend(&out, "{\"tok\": ", t + 1);
      if (t == 0 && document.domain < trace.domains.size()) {
        absl::StrAppend(&out, ", \"domain\": \"", trace.domains[document.domain], "\"");
      }
      out += ", \"layers\": [";
      const int32_t *ids = &trace.experts[(document.first + t) * row];
      for (size_t l = 0; l < trace.layers.size(); ++l) {
        const int32_t *end = std::find(ids, ids + trace.layers[l].topK, -1);
        absl::StrAppend(&out, l == 0 ? "[" : ", [", absl::StrJoin(ids, end, ", "), "]");
        ids += trace.layers[l].topK;
      }
      out += "]";
      if (!trace.ahead.empty()) {
        out += ", \"ahead\": [";
        for (size_t l = 0; l < trace.layers.size(); ++l) {
          size_t at = (document.first + t) * trace.aheadRow(), begin = trace.aheadColumn(l), end = trace.aheadColumn(l + 1);
          auto first = trace.ahead.begin() + static_cast<std::ptrdiff_t>(at + begin);
          auto last = trace.ahead.begin() + static_cast<std::ptrdiff_t>(at + end);
          absl::StrAppend(&out, l == 0 ? "[" : ", [", absl::StrJoin(first, std::find(first, last, -1), ", "), "]");
        }
        out += "]";
      }
      out += "}\n";
    }
  }
  return out;
}

Trace sliceTrace(const Trace &trace, uint64_t first, uint64_t count) {
  Trace result;
  result.layers = trace.layers;
  result.domains = trace.domains;
  auto slice = [&](const auto &from, auto &to, size_t row) {
    if (!from.empty()) {
      auto begin = from.begin() + static_cast<std::ptrdiff_t>(first * row);
      to.assign(begin, begin + static_cast<std::ptrdiff_t>(count * row));
    }
  };
  slice(trace.tokens, result.tokens, 1);
  slice(trace.experts, result.experts, trace.row());
  slice(trace.weights, result.weights, trace.row());
  slice(trace.ahead, result.ahead, trace.aheadRow());
  for (const TraceDocument &document : trace.documents) {
    uint64_t begin = std::max(first, document.first), end = std::min(first + count, document.first + document.tokens);
    if (begin < end) {
      result.documents.push_back({begin - first, end - begin, document.domain});
    }
  }
  return result;
}

} // namespace emoe
