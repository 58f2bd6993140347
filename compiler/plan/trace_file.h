// Traces as files.
//
// JSONL, a line a token:  {"tok": 1, "layers": [[6, 8, 15], [7, 16, 18]]}
// `tok` counts the tokens of a document from 1: where it does not grow, a new one begins. Further members are allowed:
// "domain" (a text's name, for the first token of a document), "ahead" (for every token or none: of each layer, which
// experts its router preferred on the hidden state of the layer before, the best first; Trace::ahead).
// CSV as BigMoeOnEdge records it: comment lines with key=value pairs (n_expert), a header line that names the columns
// turn, phase, step, layer and expert among others, then a line for each chosen expert.
#ifndef EMOE_COMPILER_PLAN_TRACE_FILE_H_
#define EMOE_COMPILER_PLAN_TRACE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "compiler/plan/trace.h"

namespace emoe {

// Errors name `name` and the line. A layer's number of experts is what the file says, else one more than its largest id.
absl::StatusOr<Trace> parseTrace(absl::string_view bytes, const std::string &name);
absl::StatusOr<Trace> readTrace(const std::string &path);

// JSONL; what parseTrace reads again, but for token ids, weights and experts that were never chosen.
std::string formatTrace(const Trace &trace);

// Tokens [first, first + count), with the documents that they are of.
Trace sliceTrace(const Trace &trace, uint64_t first, uint64_t count);

} // namespace emoe

#endif // EMOE_COMPILER_PLAN_TRACE_FILE_H_
