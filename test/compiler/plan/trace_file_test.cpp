#include "compiler/plan/trace_file.h"

#include <gtest/gtest.h>

#include <string>

#include "compiler/plan/replay.h"

namespace emoe {
namespace {

using Ids = std::vector<int32_t>;

TEST(TraceFile, JsonLines) {
  absl::StatusOr<Trace> trace = parseTrace("{\"tok\": 1, \"layers\": [[3, 1], [0]]}\n"
                                           "{\"layers\": [[2, 5], [1]], \"extra\": {\"a\": [1, \"x\"]}, \"tok\": 2}\n"
                                           "\n"
                                           "{\"tok\": 1, \"domain\": \"b.txt\", \"layers\": [[4], [2]]}\n",
                                           "a.jsonl");
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->layers.size(), 2u);
  EXPECT_EQ(trace->layers[0].topK, 2u);
  EXPECT_EQ(trace->layers[1].topK, 1u);
  EXPECT_EQ(trace->layers[0].experts, 6u) << "one more than the largest of all layers";
  EXPECT_EQ(trace->experts, (Ids{1, 3, 0, 2, 5, 1, 4, -1, 2}));
  ASSERT_EQ(trace->documents.size(), 2u);
  EXPECT_EQ(trace->documents[0].tokens, 2u);
  EXPECT_EQ(trace->documents[1].first, 2u);
  EXPECT_EQ(trace->domains, (std::vector<std::string>{"a.jsonl", "b.txt"}));
  EXPECT_EQ(trace->documents[1].domain, 1u);
  EXPECT_EQ(tokenCycle(*trace), 3u);
  EXPECT_EQ(traceKeys(*trace), 12u);
}

TEST(TraceFile, WhatIsWrittenIsReadAgain) {
  absl::StatusOr<Trace> trace = parseTrace("{\"tok\": 1, \"layers\": [[3, 1], [0]]}\n{\"tok\": 2, \"layers\": [[4], []]}\n"
                                           "{\"tok\": 1, \"domain\": \"b\", \"layers\": [[0, 2], [1]]}\n",
                                           "a");
  ASSERT_TRUE(trace.ok()) << trace.status();
  std::string text = formatTrace(*trace);
  EXPECT_EQ(text, "{\"tok\": 1, \"domain\": \"a\", \"layers\": [[1, 3], [0]]}\n{\"tok\": 2, \"layers\": [[4], []]}\n"
                  "{\"tok\": 1, \"domain\": \"b\", \"layers\": [[0, 2], [1]]}\n");
  absl::StatusOr<Trace> again = parseTrace(text, "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->experts, trace->experts);
  EXPECT_EQ(again->layers, trace->layers);
  EXPECT_EQ(formatTrace(*again), text);
}

TEST(TraceFile, LookAhead) {
  const std::string text = "{\"tok\": 1, \"domain\": \"a\", \"layers\": [[1], [0]], \"ahead\": [[], [2, 0]]}\n"
                           "{\"tok\": 2, \"layers\": [[2], [1]], \"ahead\": [[], [1, 2]]}\n";
  absl::StatusOr<Trace> trace = parseTrace(text, "a");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->ahead, (Ids{-1, -1, 2, 0, -1, -1, 1, 2}));
  EXPECT_EQ(formatTrace(*trace), text);
  trace = parseTrace("{\"layers\": [[1], [2]], \"ahead\": [[], [2]]}\n", "a");
  EXPECT_EQ(trace.status().message(), "a: token 1: \"ahead\" of layer 1 must have 2 experts or none");
}

// Prompts are recorded layer by layer, and their last layer for the last token only.
TEST(TraceFile, Csv) {
  absl::StatusOr<Trace> trace = parseTrace("# route_trace v1\n# model=x n_layer=2 n_expert=8 n_expert_used=2\n"
                                           "turn,phase,step,layer,slot,expert,weight\n"
                                           "0,0,0,0,0,7,0.5\n0,0,0,0,1,2,0.5\n0,0,1,0,0,1,0.5\n0,0,1,0,1,3,0.5\n"
                                           "0,0,1,1,0,4,0.5\n0,0,1,1,1,0,0.5\n"
                                           "0,1,0,0,0,5,0.5\n0,1,0,0,1,6,0.5\n0,1,0,1,0,2,0.5\n0,1,0,1,1,3,0.5\n"
                                           "1,0,0,0,0,5,0.5\n1,0,0,0,1,6,0.5\n",
                                           "a.csv");
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->count(), 4u);
  EXPECT_EQ(trace->layers[1].experts, 8u);
  EXPECT_EQ(trace->experts, (Ids{2, 7, -1, -1, 1, 3, 0, 4, 5, 6, 2, 3, 5, 6, -1, -1}));
  ASSERT_EQ(trace->documents.size(), 2u);
  EXPECT_EQ(trace->documents[0].tokens, 3u);
}

TEST(TraceFile, ErrorsSayWhereAndWhat) {
  struct {
    const char *text, *error;
  } cases[] = {
      {"", "a: holds no routing; a trace is JSON lines {\"tok\": N, \"layers\": [[experts], ...]} or a CSV with the columns "
           "turn, phase, step, layer and expert"},
      {"{\"tok\": 1, \"layers\": [[1]]}\n{\"tok\": 2}\n",
       "a:2: no \"layers\": each line must be {\"tok\": N, \"layers\": [[experts], ...]}"},
      {"{\"tok\": 1, \"layers\": [[1]]\n", "a:1: not a JSON object on one line"},
      {"{\"tok\": 1, \"layers\": [[1]]} x\n", "a:1: not a JSON object on one line"},
      {"{\"tok\": 1, \"layers\": [[1], 2]}\n", "a:1: \"layers\" is not a list of lists of expert numbers below 4096"},
      {"{\"tok\": 1, \"layers\": [[4096]]}\n", "a:1: \"layers\" is not a list of lists of expert numbers below 4096"},
      {"{\"tok\": 1, \"layers\": [[-1]]}\n", "a:1: \"layers\" is not a list of lists of expert numbers below 4096"},
      {"{\"tok\": 1, \"layers\": [[1, 1]]}\n", "a: token 1 chooses an expert of layer 0 twice"},
      {"\x01\x02 binary", "a:1: neither a JSON line nor a header with the columns turn, phase, step, layer, expert"},
      {"turn,phase,step,layer,expert\n0,0,0,0,x\n", "a:2: no whole number in the column expert"},
      {"turn,phase,step,layer,expert\n0,0,0,0\n", "a:2: no whole number in the column expert"},
      {"# n_expert=4\nturn,phase,step,layer,expert\n0,0,0,0,4\n",
       "a:3: the layer or the expert is larger than the model can have"},
      {"turn,phase,step,layer,expert\n0,0,0,99999,4\n", "a:2: the layer or the expert is larger than the model can have"},
      {"# n_expert=many\n", "a:1: n_expert is no number of experts"},
  };
  for (const auto &c : cases) {
    absl::StatusOr<Trace> trace = parseTrace(c.text, "a");
    ASSERT_FALSE(trace.ok()) << c.error;
    EXPECT_EQ(trace.status().message(), c.error);
  }
  EXPECT_EQ(readTrace("/nowhere/at/all").status().code(), absl::StatusCode::kNotFound);
}

TEST(TraceFile, Slices) {
  absl::StatusOr<Trace> trace = parseTrace("{\"tok\": 1, \"layers\": [[1]]}\n{\"tok\": 2, \"layers\": [[2]]}\n"
                                           "{\"tok\": 1, \"layers\": [[3]]}\n{\"tok\": 2, \"layers\": [[4]]}\n", "a");
  ASSERT_TRUE(trace.ok());
  Trace slice = sliceTrace(*trace, 1, 2);
  EXPECT_EQ(slice.experts, (Ids{2, 3}));
  ASSERT_EQ(slice.documents.size(), 2u);
  EXPECT_EQ(slice.documents[1].first, 1u);
  EXPECT_EQ(slice.documents[1].tokens, 1u);
}

} // namespace
} // namespace emoe
