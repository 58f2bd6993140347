// What a model's folder says about it beside the graph: config.json, generation_config.json, genai_config.json.
#ifndef EMOE_COMPILER_FACTS_H_
#define EMOE_COMPILER_FACTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace emoe {

struct ModelFacts {
  std::string architecture = "unknown";  // e.g. "qwen3_moe"
  int64_t context = 0;                   // longest sequence; 0: the files do not say
  int32_t firstToken = -1;               // heads every document; -1: none
  std::vector<int32_t> stopTokens;       // each ends a text
  std::string device;                    // whom genai_config.json names as the model's provider, e.g. "cuda"; or empty
};

// Where the files are that belong to the model at `modelPath`: beside it, or one folder up; empty if nowhere.
struct ModelFiles {
  std::string config, generationConfig, genaiConfig, tokenizer;
};
ModelFiles findModelFiles(const std::string &modelPath);

// Reads config.json or genai_config.json (`config`) and, if given, generation_config.json, which says better which
// tokens end a text. An empty path gives the defaults. InvalidArgument names the file and the field.
absl::StatusOr<ModelFacts> readModelFacts(const std::string &config, const std::string &generationConfig,
                                          const std::string &genaiConfig = "");

} // namespace emoe

#endif // EMOE_COMPILER_FACTS_H_
