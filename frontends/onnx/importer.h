// The importer's state: plain structs of a model -> IR. importer.cpp walks the model, importer_ops.cpp builds one op.
#ifndef EMOE_FRONTENDS_ONNX_IMPORTER_H_
#define EMOE_FRONTENDS_ONNX_IMPORTER_H_

#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "dialects/onnx/onnx.h"
#include "frontends/onnx/onnx.h"
#include "frontends/onnx/reader.h"
#include "frontends/onnx/signature.h"
#include "frontends/onnx/tensors.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/IR/Builders.h"

namespace emoe::onnx {

constexpr size_t kMaxCallDepth = 32;     // of functions calling functions
constexpr size_t kMaxInlined = 256 << 10; // nodes of function bodies put in place of calls: calls multiply

using References = llvm::StringMap<const Attribute *>;

// What names mean to the nodes of one graph or function body; outer graphs are searched after it.
struct Scope {
  const Scope *outer = nullptr;
  llvm::StringMap<mlir::Value> values; // a null value: an absent optional input of a function
  llvm::StringMap<const ValueInfo *> infos;
  const Opsets *opsets = nullptr;
  const References *references = nullptr; // attributes of the call, in a function body
  std::string prefix;                     // of node names
  size_t calls = 0;                       // how deep function calls are nested

  const mlir::Value *find(llvm::StringRef name) const {
    for (const Scope *scope = this; scope; scope = scope->outer) {
      if (auto found = scope->values.find(name); found != scope->values.end()) {
        return &found->second;
      }
    }
    return nullptr;
  }

  int64_t opset() const {
    for (const auto &[domain, version] : *opsets) {
      if (domain.empty()) {
        return version;
      }
    }
    return 0;
  }
};

class Importer {
public:
  Importer(const std::string &path, const Model &model, mlir::MLIRContext &context, WeightStore &store)
      : path_(path), model_(model), context_(&context), builder_(&context), tensors_(path, &context, store) {}

  absl::StatusOr<mlir::OwningOpRef<mlir::ModuleOp>> run();

private:
  using Unknown = std::map<std::string, std::vector<std::string>>; // op -> names of its nodes
  void findUnknown(const std::vector<Node> &nodes, size_t depth, std::set<const Function *> &visited,
                   Unknown &unknown) const;
  absl::Status checkOps() const;

  absl::Status importMain();
  absl::Status importGraph(const Graph &graph, Scope &scope);
  absl::StatusOr<mlir::Value> importTensor(const TensorInfo &tensor, llvm::StringRef name, mlir::Location loc, bool share);
  absl::Status importNodes(const std::vector<Node> &nodes, Scope &scope);
  absl::Status importNode(const Node &node, size_t index, Scope &scope);
  absl::Status importConstant(const Node &node, mlir::Location loc, Scope &scope);
  absl::Status importDropout(const Node &node, Scope &scope);
  absl::Status importCall(const Node &node, const std::string &name, const Function &function, Scope &scope);
  absl::Status importOp(const Node &node, mlir::Location loc, mlir::RegisteredOperationName name, Scope &scope);

  // The parts of importOp. `groups` has the values of each input of the signature.
  using Groups = llvm::SmallVector<llvm::SmallVector<mlir::Value, 1>>;
  absl::Status collectInputs(const Node &node, const Signature &signature, const Scope &scope, Groups &groups) const;
  absl::Status collectAttributes(const Node &node, mlir::Location loc, mlir::RegisteredOperationName name,
                                 const Signature &signature, const Scope &scope, Groups &groups,
                                 mlir::NamedAttrList &attributes, llvm::StringMap<const Graph *> &graphs);
  absl::StatusOr<mlir::Attribute> importAttribute(const Node &node, const Attribute &attribute);
  absl::Status normalise(const Node &node, mlir::RegisteredOperationName name, const Scope &scope, const Groups &groups,
                         mlir::NamedAttrList &attributes) const;
  absl::Status importRegion(const Node &node, const Graph &graph, llvm::ArrayRef<mlir::Type> arguments, mlir::Location loc,
                            mlir::Region &region, const Scope &scope);
  absl::StatusOr<mlir::Type> resultType(const Node &node, llvm::StringRef output, mlir::Type element, const Scope &scope) const;

  std::optional<mlir::RegisteredOperationName> lookUp(const Node &node) const;
  const Function *findFunction(const Node &node) const;
  const Attribute *resolve(const Attribute &attribute, const Scope &scope) const;
  absl::Status define(absl::string_view where, llvm::StringRef name, mlir::Value value, Scope &scope) const;
  absl::StatusOr<mlir::Value> use(absl::string_view where, llvm::StringRef name, const Scope &scope) const;
  mlir::Type typeOf(const ValueInfo &info) const;
  mlir::DictionaryAttr argumentAttributes(const ValueInfo &info);
  std::string uniqueSymbol(llvm::StringRef name);

  static std::string describe(const Node &node) {
    return node.name.empty() ? absl::StrCat("the node at byte ", node.offset, " (", node.op, ")")
                             : absl::StrCat("node \"", node.name, "\" (", node.op, ")");
  }
  absl::Status bad(absl::string_view where, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", where, " ", what));
  }
  absl::Status bad(const Node &node, absl::string_view what) const { return bad(describe(node), what); }
  absl::Status lack(const Node &node, absl::string_view what) const {
    return absl::UnimplementedError(absl::StrCat(path_, ": ", describe(node), " ", what));
  }

  const std::string &path_;
  const Model &model_;
  mlir::MLIRContext *context_;
  mlir::OpBuilder builder_;
  Tensors tensors_;
  mlir::ModuleOp module_;
  mlir::func::FuncOp main_;
  std::map<std::string, const Function *> functions_;
  llvm::StringMap<unsigned> symbols_;
  std::map<std::pair<const void *, const void *>, std::string> shared_; // (source, type) of Constant nodes -> symbol
  std::vector<mlir::Operation *> values_; // constants and initialisers, some of which nobody may use
  size_t inlined_ = 0;
  std::string diagnostics_;
};

} // namespace emoe::onnx

#endif // EMOE_FRONTENDS_ONNX_IMPORTER_H_
