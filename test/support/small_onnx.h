// ONNX models in the bytes of a file, small enough to be damaged a thousand times.
#ifndef EMOE_TEST_SUPPORT_SMALL_ONNX_H_
#define EMOE_TEST_SUPPORT_SMALL_ONNX_H_

#include <string>

namespace emoe::test {

// A model with something of everything that the importer reads: typed and raw data, constants, a function, a subgraph,
// value infos. It is no language model.
std::string onnxOfEverything();

// The smallest decoder that raises and proves (pattern P3): 32 tokens, hidden size 16, one layer of two heads without a
// cache, one of two experts for each token. The same graph as test/compiler/raise/decoder.mlir.
std::string onnxDecoder();

// The bytes with one to four damages: a bit flipped, a byte replaced by one that often means something, some bytes twice,
// some bytes less. The same for the same seed.
std::string damaged(std::string bytes, unsigned seed);

// The model, still well formed, with one thing changed: a number, an extent, an attribute, an op, where an input comes
// from. The same for the same seed.
std::string altered(const std::string &bytes, unsigned seed);

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_SMALL_ONNX_H_
