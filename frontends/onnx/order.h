// The order in which nodes can be imported.
#ifndef EMOE_FRONTENDS_ONNX_ORDER_H_
#define EMOE_FRONTENDS_ONNX_ORDER_H_

#include <cstddef>
#include <vector>

#include "frontends/onnx/model.h"

namespace emoe::onnx {

// Indices of `nodes` such that each stands after the nodes that make what it (or a subgraph of it) uses, otherwise in
// the file's order. ONNX asks for that order, yet converters to float16 leave inserted casts at the end. Nodes on a
// cycle, and those that need them, are left out.
std::vector<size_t> orderOf(const std::vector<Node> &nodes);

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_ORDER_H_
