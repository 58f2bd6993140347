#include "frontends/onnx/order.h"

#include <functional>
#include <queue>
#include <string_view>
#include <unordered_map>

namespace emoe::onnx {
namespace {

// Calls `visit` for each name that a node uses, in it or in its subgraphs (at most kMaxSubgraphDepth deep).
template <typename Visit> void visitUses(const Node &node, Visit visit) {
  for (const std::string &input : node.inputs) {
    visit(std::string_view(input));
  }
  for (const Attribute &attribute : node.attributes) {
    if (!attribute.graph) {
      continue;
    }
    for (const Node &inner : attribute.graph->nodes) {
      visitUses(inner, visit);
    }
    for (const ValueInfo &output : attribute.graph->outputs) {
      visit(std::string_view(output.name));
    }
  }
}

} // namespace

std::vector<size_t> orderOf(const std::vector<Node> &nodes) {
  std::unordered_map<std::string_view, size_t> makers;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const std::string &output : nodes[i].outputs) {
      if (!output.empty()) {
        makers.emplace(output, i);
      }
    }
  }
  std::vector<std::vector<size_t>> users(nodes.size());
  std::vector<size_t> missing(nodes.size(), 0); // uses whose maker is not in the order yet
  for (size_t i = 0; i < nodes.size(); ++i) {
    visitUses(nodes[i], [&](std::string_view name) {
      if (auto maker = makers.find(name); maker != makers.end()) {
        users[maker->second].push_back(i);
        ++missing[i];
      }
    });
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready; // the first of the file first
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (missing[i] == 0) {
      ready.push(i);
    }
  }
  std::vector<size_t> order;
  order.reserve(nodes.size());
  while (!ready.empty()) {
    const size_t node = ready.top();
    ready.pop();
    order.push_back(node);
    for (size_t user : users[node]) {
      if (--missing[user] == 0) {
        ready.push(user);
      }
    }
  }
  return order;
}

} // namespace emoe::onnx
