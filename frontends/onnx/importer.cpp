// Plain structs of a model -> IR. Ops are built from their signatures (dialects/onnx/dialect.td), so that a new op of
// the dialect needs nothing here; what older opsets wrote otherwise is brought to the newest form on the way.
#include "frontends/onnx/onnx.h"

#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "dialects/onnx/onnx.h"
#include "frontends/onnx/order.h"
#include "frontends/onnx/reader.h"
#include "frontends/onnx/signature.h"
#include "frontends/onnx/status.h"
#include "frontends/onnx/tensors.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;

namespace emoe::onnx {
namespace {

constexpr size_t kMaxCallDepth = 32;     // of functions calling functions
constexpr size_t kMaxInlined = 256 << 10; // nodes of function bodies put in place of calls: calls multiply

using References = llvm::StringMap<const Attribute *>;

// What names mean to the nodes of one graph or function body; outer graphs are searched after it.
struct Scope {
  const Scope *outer = nullptr;
  llvm::StringMap<Value> values; // a null value: an absent optional input of a function
  llvm::StringMap<const ValueInfo *> infos;
  const Opsets *opsets = nullptr;
  const References *references = nullptr; // attributes of the call, in a function body
  std::string prefix;                     // of node names
  size_t calls = 0;                       // how deep function calls are nested

  const Value *find(llvm::StringRef name) const {
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
  Importer(const std::string &path, const Model &model, MLIRContext &context, WeightStore &store)
      : path_(path), model_(model), context_(&context), builder_(&context), tensors_(path, &context, store) {}

  absl::StatusOr<OwningOpRef<ModuleOp>> run();

private:
  using Unknown = std::map<std::string, std::vector<std::string>>; // op -> names of its nodes
  void findUnknown(const std::vector<Node> &nodes, size_t depth, std::set<const Function *> &visited,
                   Unknown &unknown) const;
  absl::Status checkOps() const;

  absl::Status importMain();
  absl::Status importGraph(const Graph &graph, Scope &scope);
  absl::StatusOr<Value> importTensor(const TensorInfo &tensor, llvm::StringRef name, Location loc, bool share);
  absl::Status importNodes(const std::vector<Node> &nodes, Scope &scope);
  absl::Status importNode(const Node &node, size_t index, Scope &scope);
  absl::Status importConstant(const Node &node, Location loc, Scope &scope);
  absl::Status importDropout(const Node &node, Scope &scope);
  absl::Status importCall(const Node &node, const std::string &name, const Function &function, Scope &scope);
  absl::Status importOp(const Node &node, Location loc, RegisteredOperationName name, Scope &scope);

  // The parts of importOp. `groups` has the values of each input of the signature.
  using Groups = llvm::SmallVector<llvm::SmallVector<Value, 1>>;
  absl::Status collectInputs(const Node &node, const Signature &signature, const Scope &scope, Groups &groups) const;
  absl::Status collectAttributes(const Node &node, Location loc, RegisteredOperationName name,
                                 const Signature &signature, const Scope &scope, Groups &groups,
                                 NamedAttrList &attributes, llvm::StringMap<const Graph *> &graphs);
  absl::StatusOr<mlir::Attribute> importAttribute(const Node &node, const Attribute &attribute);
  absl::Status normalise(const Node &node, RegisteredOperationName name, const Scope &scope, const Groups &groups,
                         NamedAttrList &attributes) const;
  absl::Status importRegion(const Node &node, const Graph &graph, llvm::ArrayRef<Type> arguments, Location loc,
                            Region &region, const Scope &scope);
  absl::StatusOr<Type> resultType(const Node &node, llvm::StringRef output, Type element, const Scope &scope) const;

  std::optional<RegisteredOperationName> lookUp(const Node &node) const;
  const Function *findFunction(const Node &node) const;
  const Attribute *resolve(const Attribute &attribute, const Scope &scope) const;
  absl::Status define(absl::string_view where, llvm::StringRef name, Value value, Scope &scope) const;
  absl::StatusOr<Value> use(absl::string_view where, llvm::StringRef name, const Scope &scope) const;
  Type typeOf(const ValueInfo &info) const;
  DictionaryAttr argumentAttributes(const ValueInfo &info);
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
  MLIRContext *context_;
  OpBuilder builder_;
  Tensors tensors_;
  ModuleOp module_;
  func::FuncOp main_;
  std::map<std::string, const Function *> functions_;
  llvm::StringMap<unsigned> symbols_;
  std::map<std::pair<const void *, const void *>, std::string> shared_; // (source, type) of Constant nodes -> symbol
  std::vector<Operation *> values_; // constants and initialisers, some of which nobody may use
  size_t inlined_ = 0;
  std::string diagnostics_;
};

std::string keyOf(const std::string &domain, const std::string &name, const std::string &overload) {
  return absl::StrCat(domain, "::", name, ":", overload);
}

std::string nameOf(const std::string &domain, const std::string &op) {
  return domain.empty() ? op : absl::StrCat(domain, ".", op);
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

std::optional<RegisteredOperationName> Importer::lookUp(const Node &node) const {
  auto name = RegisteredOperationName::lookup("onnx." + nameOf(node.domain, node.op), context_);
  return name && signatureOf(*name) ? name : std::nullopt;
}

const Function *Importer::findFunction(const Node &node) const {
  auto found = functions_.find(keyOf(node.domain, node.op, node.overload));
  return found == functions_.end() ? nullptr : found->second;
}

// The attribute that counts: itself, or what the call gives or the function's default says; null if neither does.
const Attribute *Importer::resolve(const Attribute &attribute, const Scope &scope) const {
  if (attribute.reference.empty()) {
    return &attribute;
  }
  return scope.references ? scope.references->lookup(attribute.reference) : nullptr;
}

absl::Status Importer::define(absl::string_view where, llvm::StringRef name, Value value, Scope &scope) const {
  if (!name.empty() && !scope.values.try_emplace(name, value).second) {
    return bad(where, absl::StrCat("makes value \"", name.str(), "\", which exists already"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Importer::use(absl::string_view where, llvm::StringRef name, const Scope &scope) const {
  if (const Value *value = scope.find(name)) {
    return *value;
  }
  return bad(where, absl::StrCat("uses value \"", name.str(), "\", which nothing makes"));
}

std::string Importer::uniqueSymbol(llvm::StringRef name) {
  std::string symbol = name.empty() ? "tensor" : name.str();
  while (true) {
    auto [entry, added] = symbols_.try_emplace(symbol, 0);
    if (added) {
      return symbol;
    }
    symbol = absl::StrCat(name.str(), "_", ++entry->second);
  }
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

// Null if the file does not say what the elements are.
Type Importer::typeOf(const ValueInfo &info) const {
  Type element = info.isTensor ? elementType(context_, info.type) : nullptr;
  if (!element) {
    return nullptr;
  }
  if (!info.isRanked) {
    return UnrankedTensorType::get(element);
  }
  llvm::SmallVector<int64_t> shape;
  for (const ValueInfo::Dim &dim : info.dims) {
    shape.push_back(dim.value < 0 ? ShapedType::kDynamic : dim.value);
  }
  return RankedTensorType::get(shape, element);
}

// The name in the file, and the dimensions as it spells them: equal names are equal extents.
DictionaryAttr Importer::argumentAttributes(const ValueInfo &info) {
  NamedAttrList attributes;
  attributes.set("onnx.name", builder_.getStringAttr(info.name));
  if (info.isRanked) {
    llvm::SmallVector<mlir::Attribute> dims;
    for (const ValueInfo::Dim &dim : info.dims) {
      dims.push_back(builder_.getStringAttr(dim.value >= 0     ? std::to_string(dim.value)
                                            : dim.name.empty() ? "?"
                                                               : dim.name));
    }
    attributes.set("onnx.dims", builder_.getArrayAttr(dims));
  }
  return attributes.getDictionary(context_);
}

// The file's type of an output if it has one, else any shape of `element`. The two must agree on elements.
absl::StatusOr<Type> Importer::resultType(const Node &node, llvm::StringRef output, Type element,
                                          const Scope &scope) const {
  const ValueInfo *info = scope.infos.lookup(output);
  Type declared = info ? typeOf(*info) : nullptr;
  if (!declared && !element) {
    return bad(node, absl::StrCat("makes \"", output.str(), "\", whose type cannot be told"));
  }
  if (declared && element && cast<TensorType>(declared).getElementType() != element) {
    std::string text;
    llvm::raw_string_ostream(text) << "makes \"" << output << "\" with elements " << element
                                   << ", but the file says that they are "
                                   << cast<TensorType>(declared).getElementType();
    return bad(node, text);
  }
  return declared ? declared : UnrankedTensorType::get(element);
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

// An onnx.constant, or an onnx.initializer of a new symbol. `share`: a tensor at the same place may share its symbol.
absl::StatusOr<Value> Importer::importTensor(const TensorInfo &tensor, llvm::StringRef name, Location loc, bool share) {
  const std::string symbol = uniqueSymbol(name);
  absl::StatusOr<Tensors::Value> value = tensors_.value(tensor, symbol);
  if (!value.ok()) {
    return value.status();
  }
  if (auto *constant = std::get_if<DenseElementsAttr>(&*value)) {
    symbols_.erase(symbol);
    auto op = builder_.create<ConstantOp>(loc, constant->getType(), *constant);
    values_.push_back(op);
    return op.getResult();
  }
  auto source = std::get<SourceAttr>(*value);
  RankedTensorType type = *tensors_.type(tensor);
  std::string target = symbol;
  if (share) {
    auto [entry, added] = shared_.try_emplace({source.getAsOpaquePointer(), type.getAsOpaquePointer()}, symbol);
    target = entry->second;
  }
  if (target == symbol) {
    OpBuilder::InsertionGuard guard(builder_);
    builder_.setInsertionPoint(main_);
    builder_.create<TensorOp>(loc, symbol, type, source);
  } else {
    symbols_.erase(symbol);
  }
  auto op = builder_.create<InitializerOp>(loc, type, target);
  values_.push_back(op);
  return op.getResult();
}

absl::Status Importer::importConstant(const Node &node, Location loc, Scope &scope) {
  if (node.attributes.size() != 1 || node.outputs.size() != 1) {
    return bad(node, "must have one attribute and one output");
  }
  const Attribute *attribute = resolve(node.attributes[0], scope);
  if (!attribute) {
    return bad(node, "takes its value from an attribute that the call does not give");
  }
  Value result;
  if (attribute->type == Attribute::Tensor) {
    absl::StatusOr<Value> value = importTensor(*attribute->tensor, node.outputs[0], loc, /*share=*/true);
    EMOE_RETURN_IF_ERROR(value.status());
    result = *value;
  } else {
    DenseElementsAttr value;
    auto shaped = [&](size_t size, Type element) {
      return RankedTensorType::get({static_cast<int64_t>(size)}, element);
    };
    switch (attribute->type) {
    case Attribute::Int:
      value = DenseElementsAttr::get(RankedTensorType::get({}, builder_.getI64Type()), attribute->i);
      break;
    case Attribute::Float:
      value = DenseElementsAttr::get(RankedTensorType::get({}, builder_.getF32Type()), attribute->f);
      break;
    case Attribute::Ints:
      value = DenseElementsAttr::get(shaped(attribute->ints.size(), builder_.getI64Type()),
                                     llvm::ArrayRef<int64_t>(attribute->ints));
      break;
    case Attribute::Floats:
      value = DenseElementsAttr::get(shaped(attribute->floats.size(), builder_.getF32Type()),
                                     llvm::ArrayRef<float>(attribute->floats));
      break;
    default:
      return lack(node, absl::StrCat("has a value of a kind that is not supported (", node.attributes[0].name, ")"));
    }
    auto op = builder_.create<ConstantOp>(loc, value.getType(), value);
    values_.push_back(op);
    result = op.getResult();
  }
  return define(describe(node), node.outputs[0], result, scope);
}

//===----------------------------------------------------------------------===//
// Nodes
//===----------------------------------------------------------------------===//

absl::Status Importer::importNodes(const std::vector<Node> &nodes, Scope &scope) {
  const std::vector<size_t> order = orderOf(nodes);
  for (size_t index : order) {
    EMOE_RETURN_IF_ERROR(importNode(nodes[index], index, scope));
  }
  if (order.size() == nodes.size()) {
    return absl::OkStatus();
  }
  size_t first = 0; // the first node that is missing from the order
  for (std::set<size_t> ordered(order.begin(), order.end()); ordered.count(first); ++first) {
  }
  return bad(nodes[first], "needs, directly or not, a value made from its own result: the graph has a cycle");
}

absl::Status Importer::importNode(const Node &node, size_t index, Scope &scope) {
  if (scope.calls > 0 && ++inlined_ > kMaxInlined) {
    return bad(node, absl::StrCat("is one too many: calls of functions stand for more than ", kMaxInlined, " nodes"));
  }
  const std::string name =
      scope.prefix + (node.name.empty() ? absl::StrCat(node.op, "_", index) : node.name);
  Location loc = NameLoc::get(builder_.getStringAttr(name));
  if (node.domain.empty() && node.op == "Constant") {
    return importConstant(node, loc, scope);
  }
  if (node.domain.empty() && node.op == "Dropout") {
    return importDropout(node, scope);
  }
  if (auto op = lookUp(node)) {
    return importOp(node, loc, *op, scope);
  }
  if (const Function *function = findFunction(node)) {
    return importCall(node, name, *function, scope);
  }
  return lack(node, "is of an unknown operator");
}

// At inference a dropout passes its input on.
absl::Status Importer::importDropout(const Node &node, Scope &scope) {
  if (node.inputs.empty() || node.inputs.size() > 3 || node.outputs.empty()) {
    return bad(node, "must have one to three inputs and an output");
  }
  if (node.outputs.size() > 1 && !node.outputs[1].empty()) {
    return lack(node, "gives its mask; export the model for inference");
  }
  if (node.inputs.size() == 3 && !node.inputs[2].empty()) {
    absl::StatusOr<Value> training = use(describe(node), node.inputs[2], scope);
    EMOE_RETURN_IF_ERROR(training.status());
    auto constant = *training ? training->getDefiningOp<ConstantOp>() : nullptr;
    auto values = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
    if (*training && (!values || !values.getElementType().isInteger(1) || !values.isSplat() ||
                      values.getSplatValue<bool>())) {
      return lack(node, "may run in training mode; export the model for inference");
    }
  }
  absl::StatusOr<Value> input = use(describe(node), node.inputs[0], scope);
  EMOE_RETURN_IF_ERROR(input.status());
  return *input ? define(describe(node), node.outputs[0], *input, scope) : bad(node, "has no input");
}

// Puts the body of a function in place of its call.
absl::Status Importer::importCall(const Node &node, const std::string &name, const Function &function, Scope &scope) {
  if (scope.calls >= kMaxCallDepth) {
    return bad(node, absl::StrCat("calls functions deeper than ", kMaxCallDepth, ", perhaps itself"));
  }
  if (node.inputs.size() > function.inputs.size() || node.outputs.size() > function.outputs.size()) {
    return bad(node, "has more inputs or outputs than the function that it calls");
  }
  Scope inner;
  inner.opsets = &function.opsets;
  inner.prefix = name + "/";
  inner.calls = scope.calls + 1;
  if (const int64_t opset = inner.opset(); opset != 0 && (opset < kMinOpset || opset > kMaxOpset)) {
    return lack(node, absl::StrCat("calls a function written in opset ", opset, "; opsets ", kMinOpset, " to ",
                                   kMaxOpset, " are supported"));
  }
  References references;
  for (const Attribute &attribute : function.defaults) {
    references[attribute.name] = &attribute;
  }
  for (const Attribute &attribute : node.attributes) {
    if (const Attribute *resolved = resolve(attribute, scope)) {
      references[attribute.name] = resolved;
    }
  }
  inner.references = &references;
  for (size_t i = 0; i < function.inputs.size(); ++i) {
    Value value;
    if (i < node.inputs.size() && !node.inputs[i].empty()) {
      absl::StatusOr<Value> used = use(describe(node), node.inputs[i], scope);
      EMOE_RETURN_IF_ERROR(used.status());
      value = *used;
    }
    EMOE_RETURN_IF_ERROR(define(describe(node), function.inputs[i], value, inner));
  }
  EMOE_RETURN_IF_ERROR(importNodes(function.nodes, inner));
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i].empty()) {
      continue;
    }
    absl::StatusOr<Value> made = use(describe(node), function.outputs[i], inner);
    EMOE_RETURN_IF_ERROR(made.status());
    if (!*made) {
      return bad(node, absl::StrCat("gives no value for output \"", node.outputs[i], "\""));
    }
    EMOE_RETURN_IF_ERROR(define(describe(node), node.outputs[i], *made, scope));
  }
  return absl::OkStatus();
}

absl::Status Importer::collectInputs(const Node &node, const Signature &signature, const Scope &scope,
                                     Groups &groups) const {
  groups.resize(signature.inputs.size());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i].empty()) {
      continue;
    }
    absl::StatusOr<Value> value = use(describe(node), node.inputs[i], scope);
    EMOE_RETURN_IF_ERROR(value.status());
    if (!*value) {
      continue;
    }
    const bool rest = i >= groups.size();
    if (groups.empty() || (rest && signature.inputs.back().kind != Signature::Variadic)) {
      return lack(node, absl::StrCat("has an input number ", i + 1, ", which the operator as we know it does not take"));
    }
    groups[rest ? groups.size() - 1 : i].push_back(*value);
  }
  return absl::OkStatus();
}

absl::StatusOr<mlir::Attribute> Importer::importAttribute(const Node &node, const Attribute &attribute) {
  switch (attribute.type) {
  case Attribute::Float:
    return builder_.getF32FloatAttr(attribute.f);
  case Attribute::Int:
    return builder_.getI64IntegerAttr(attribute.i);
  case Attribute::String:
    return builder_.getStringAttr(attribute.s);
  case Attribute::Floats:
    return builder_.getDenseF32ArrayAttr(attribute.floats);
  case Attribute::Ints:
    return builder_.getDenseI64ArrayAttr(attribute.ints);
  case Attribute::Strings: {
    llvm::SmallVector<llvm::StringRef> strings(attribute.strings.begin(), attribute.strings.end());
    return builder_.getStrArrayAttr(strings);
  }
  case Attribute::Tensor: {
    absl::StatusOr<Tensors::Value> value = tensors_.value(*attribute.tensor, "attribute");
    EMOE_RETURN_IF_ERROR(value.status());
    if (auto *constant = std::get_if<DenseElementsAttr>(&*value)) {
      return *constant;
    }
    return lack(node, absl::StrCat("has a large tensor as attribute \"", attribute.name, "\""));
  }
  default:
    return lack(node, absl::StrCat("has an attribute \"", attribute.name, "\" of a kind that is not supported (",
                                   attribute.type, ")"));
  }
}

// Attributes of the op, its subgraphs, and what older opsets wrote as attributes and the newest takes as inputs.
absl::Status Importer::collectAttributes(const Node &node, Location loc, RegisteredOperationName name,
                                         const Signature &signature, const Scope &scope, Groups &groups,
                                         NamedAttrList &attributes, llvm::StringMap<const Graph *> &graphs) {
  static constexpr llvm::StringRef kTypes[] = {"to", "dtype", "output_dtype", "precision"};
  for (const Attribute &written : node.attributes) {
    const Attribute *attribute = resolve(written, scope);
    if (!attribute) {
      continue;
    }
    llvm::StringRef label = written.name;
    if (attributes.get(label) || graphs.count(label)) {
      return bad(node, absl::StrCat("has attribute \"", written.name, "\" twice"));
    }
    if (attribute->type == Attribute::Graph) {
      graphs[label] = attribute->graph.get();
      continue;
    }
    const bool known = llvm::any_of(name.getAttributeNames(), [&](StringAttr a) { return a.getValue() == label; });
    if (known && llvm::is_contained(kTypes, label)) {
      if (Type type = elementType(context_, static_cast<DataType>(attribute->i))) {
        attributes.set(label, TypeAttr::get(type));
      } else if (attribute->i != 0) {
        return lack(node, absl::StrCat("names ", typeName(static_cast<DataType>(attribute->i)), ", a type that is not "
                                       "supported"));
      }
      continue;
    }
    if (known && label != "operandSegmentSizes") {
      absl::StatusOr<mlir::Attribute> value = importAttribute(node, *attribute);
      EMOE_RETURN_IF_ERROR(value.status());
      attributes.set(label, *value);
      continue;
    }
    const auto *input = llvm::find_if(signature.inputs, [&](const Signature::Input &i) { return i.name == label; });
    if (input == signature.inputs.end() || input->kind == Signature::Variadic ||
        (attribute->type != Attribute::Ints && attribute->type != Attribute::Int &&
         attribute->type != Attribute::Float)) {
      return lack(node, absl::StrCat("has an attribute \"", written.name, "\", which the operator as we know it does "
                                     "not have"));
    }
    auto &group = groups[static_cast<size_t>(input - signature.inputs.begin())];
    if (!group.empty()) {
      return bad(node, absl::StrCat("has \"", written.name, "\" both as an input and as an attribute"));
    }
    DenseElementsAttr value;
    if (attribute->type == Attribute::Float) {
      value = DenseElementsAttr::get(RankedTensorType::get({}, builder_.getF32Type()), attribute->f);
    } else {
      std::vector<int64_t> list = attribute->type == Attribute::Int ? std::vector<int64_t>{attribute->i}
                                                                    : attribute->ints;
      value = DenseElementsAttr::get(
          RankedTensorType::get({static_cast<int64_t>(list.size())}, builder_.getI64Type()), llvm::ArrayRef(list));
    }
    group.push_back(builder_.create<ConstantOp>(loc, value.getType(), value));
  }
  return absl::OkStatus();
}

// Rules that depend on the op.
absl::Status Importer::normalise(const Node &node, RegisteredOperationName name, const Scope &scope,
                                 const Groups &groups, NamedAttrList &attributes) const {
  if (name.getStringRef() == SplitOp::getOperationName() && groups[1].empty() && !attributes.get("num_outputs")) {
    attributes.set("num_outputs",
                   IntegerAttr::get(IntegerType::get(context_, 64), static_cast<int64_t>(node.outputs.size())));
  }
  if (name.getStringRef() == AttentionOp::getOperationName() && scope.opset() >= 25) {
    auto causal = dyn_cast_or_null<IntegerAttr>(attributes.get("is_causal"));
    if (causal && causal.getInt() != 0) {
      return lack(node, "is causal in the sense of opset 25 (aligned to the bottom right); export with opset 24 or less");
    }
  }
  return absl::OkStatus();
}

absl::Status Importer::importRegion(const Node &node, const Graph &graph, llvm::ArrayRef<Type> arguments, Location loc,
                                    Region &region, const Scope &scope) {
  if (graph.inputs.size() != arguments.size()) {
    return bad(node, absl::StrCat("gives its subgraph ", arguments.size(), " inputs, which takes ", graph.inputs.size()));
  }
  Scope inner;
  inner.outer = &scope;
  inner.opsets = scope.opsets;
  inner.references = scope.references;
  inner.prefix = scope.prefix;
  inner.calls = scope.calls;
  OpBuilder::InsertionGuard guard(builder_);
  Block *block = builder_.createBlock(&region);
  for (auto [info, given] : llvm::zip_equal(graph.inputs, arguments)) {
    Type declared = typeOf(info);
    EMOE_RETURN_IF_ERROR(
        define(describe(node), info.name, block->addArgument(declared ? declared : given, loc), inner));
  }
  EMOE_RETURN_IF_ERROR(importGraph(graph, inner));
  llvm::SmallVector<Value> outputs;
  for (const ValueInfo &output : graph.outputs) {
    absl::StatusOr<Value> value = use(describe(node), output.name, inner);
    EMOE_RETURN_IF_ERROR(value.status());
    if (!*value) {
      return bad(node, absl::StrCat("has a subgraph whose output \"", output.name, "\" is absent"));
    }
    outputs.push_back(*value);
  }
  builder_.create<YieldOp>(loc, outputs);
  return absl::OkStatus();
}

absl::Status Importer::importOp(const Node &node, Location loc, RegisteredOperationName name, Scope &scope) {
  const Signature signature = *signatureOf(name);
  Groups groups;
  OperationState state(loc, name);
  llvm::StringMap<const Graph *> graphs;
  EMOE_RETURN_IF_ERROR(collectInputs(node, signature, scope, groups));
  EMOE_RETURN_IF_ERROR(collectAttributes(node, loc, name, signature, scope, groups, state.attributes, graphs));
  EMOE_RETURN_IF_ERROR(normalise(node, name, scope, groups, state.attributes));

  // Operands.
  llvm::SmallVector<int32_t> sizes;
  llvm::SmallVector<Value> firsts;
  for (auto [input, group] : llvm::zip_equal(signature.inputs, groups)) {
    if (input.kind == Signature::Required && group.size() != 1) {
      return bad(node, absl::StrCat("has no input \"", input.name.str(), "\", which it needs"));
    }
    state.addOperands(group);
    sizes.push_back(static_cast<int32_t>(group.size()));
    firsts.push_back(group.empty() ? Value() : group.front());
  }
  if (failed(name.verifyInherentAttrs(state.attributes, [&] { return mlir::emitError(loc); }))) {
    return bad(node, absl::StrCat("is not valid: ", diagnostics_));
  }
  if (name.hasTrait<OpTrait::AttrSizedOperandSegments>()) {
    state.addAttribute("operandSegmentSizes", builder_.getDenseI32ArrayAttr(sizes));
  }

  // Subgraphs, and the element types that they give.
  const bool isIf = name.getStringRef() == IfOp::getOperationName();
  const bool isLoop = name.getStringRef() == LoopOp::getOperationName();
  const bool isScan = name.getStringRef() == ScanOp::getOperationName();
  llvm::SmallVector<llvm::StringRef> regions;
  llvm::SmallVector<Type> arguments;
  if (isIf) {
    regions = {"then_branch", "else_branch"};
  } else if (isLoop || isScan) {
    regions = {"body"};
    if (isLoop) {
      arguments = {RankedTensorType::get({}, builder_.getI64Type()), RankedTensorType::get({}, builder_.getI1Type())};
    }
    for (Value value : groups.back()) {
      arguments.push_back(UnrankedTensorType::get(cast<TensorType>(value.getType()).getElementType()));
    }
  }
  if (graphs.size() != regions.size()) {
    return bad(node, absl::StrCat("has ", graphs.size(), " subgraphs, not ", regions.size()));
  }
  for (llvm::StringRef label : regions) {
    const Graph *graph = graphs.lookup(label);
    if (!graph) {
      return bad(node, absl::StrCat("has no subgraph \"", label.str(), "\""));
    }
    EMOE_RETURN_IF_ERROR(importRegion(node, *graph, arguments, loc, *state.addRegion(), scope));
  }

  // Results. Outputs of a fixed list are made even where the file does not name them.
  llvm::SmallVector<llvm::StringRef> names;
  for (const Signature::Output &output : signature.outputs) {
    const size_t count = !output.variadic                    ? 1
                         : node.outputs.size() > names.size() ? node.outputs.size() - names.size()
                                                              : 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t index = names.size();
      names.push_back(index < node.outputs.size() ? llvm::StringRef(node.outputs[index]) : "");
      Type element = elementByRule(context_, output.rule, firsts, state.attributes);
      if (!state.regions.empty()) {
        OperandRange yielded = state.regions[0]->front().getTerminator()->getOperands();
        const size_t from = index + (isLoop ? 1 : 0); // a loop's body yields its condition first
        if (from >= yielded.size()) {
          return bad(node, "has more outputs than its subgraph gives");
        }
        element = cast<TensorType>(yielded[from].getType()).getElementType();
      }
      absl::StatusOr<Type> type = resultType(node, names.back(), element, scope);
      EMOE_RETURN_IF_ERROR(type.status());
      state.addTypes(*type);
    }
  }
  if (node.outputs.size() > names.size()) {
    return lack(node, absl::StrCat("has ", node.outputs.size(), " outputs where the operator as we know it has ",
                                   names.size()));
  }
  Operation *op = builder_.create(state);
  for (auto [output, result] : llvm::zip_equal(names, op->getResults())) {
    EMOE_RETURN_IF_ERROR(define(describe(node), output, result, scope));
  }
  return absl::OkStatus();
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

absl::Status Importer::importGraph(const Graph &graph, Scope &scope) {
  for (const ValueInfo &info : graph.values) {
    scope.infos[info.name] = &info;
  }
  for (const ValueInfo &info : graph.outputs) {
    scope.infos[info.name] = &info;
  }
  for (const TensorInfo &tensor : graph.initializers) {
    Location loc = NameLoc::get(builder_.getStringAttr(tensor.name));
    absl::StatusOr<Value> value = importTensor(tensor, tensor.name, loc, /*share=*/false);
    EMOE_RETURN_IF_ERROR(value.status());
    EMOE_RETURN_IF_ERROR(define("an initialiser", tensor.name, *value, scope));
  }
  return importNodes(graph.nodes, scope);
}

absl::Status Importer::importMain() {
  const Graph &graph = model_.graph;
  std::set<std::string> initialised; // inputs with a default value: constants
  for (const TensorInfo &tensor : graph.initializers) {
    initialised.insert(tensor.name);
  }
  llvm::SmallVector<Type> inputTypes, outputTypes;
  llvm::SmallVector<const ValueInfo *> inputs;
  for (const ValueInfo &info : graph.inputs) {
    if (initialised.count(info.name)) {
      continue;
    }
    Type type = typeOf(info);
    if (!type) {
      return absl::UnimplementedError(absl::StrCat(path_, ": input \"", info.name, "\" is not a tensor of a type that "
                                                   "is supported"));
    }
    inputTypes.push_back(type);
    inputs.push_back(&info);
  }
  Location loc = NameLoc::get(builder_.getStringAttr(graph.name.empty() ? "main" : graph.name));
  builder_.setInsertionPointToEnd(module_.getBody());
  main_ = builder_.create<func::FuncOp>(loc, "main", builder_.getFunctionType(inputTypes, {}));
  Block *body = main_.addEntryBlock();
  Scope scope;
  scope.opsets = &model_.opsets;
  for (auto [index, info] : llvm::enumerate(inputs)) {
    main_.setArgAttrs(index, argumentAttributes(*info));
    EMOE_RETURN_IF_ERROR(define("an input", info->name, body->getArgument(index), scope));
  }
  builder_.setInsertionPointToStart(body);
  EMOE_RETURN_IF_ERROR(importGraph(graph, scope));

  llvm::SmallVector<Value> outputs;
  for (const ValueInfo &info : graph.outputs) {
    absl::StatusOr<Value> value = use("an output", info.name, scope);
    EMOE_RETURN_IF_ERROR(value.status());
    outputs.push_back(*value);
    outputTypes.push_back(value->getType());
  }
  builder_.create<func::ReturnOp>(loc, outputs);
  main_.setFunctionType(builder_.getFunctionType(inputTypes, outputTypes));
  for (auto [index, info] : llvm::enumerate(graph.outputs)) {
    main_.setResultAttrs(index, argumentAttributes(info));
  }
  for (Operation *op : llvm::reverse(values_)) {
    if (op->use_empty()) {
      op->erase();
    }
  }
  return absl::OkStatus();
}

//===----------------------------------------------------------------------===//
// The whole
//===----------------------------------------------------------------------===//

void Importer::findUnknown(const std::vector<Node> &nodes, size_t depth, std::set<const Function *> &visited,
                           Unknown &unknown) const {
  for (const Node &node : nodes) {
    const bool own = node.domain.empty() && (node.op == "Constant" || node.op == "Dropout");
    const Function *function = own || lookUp(node) ? nullptr : findFunction(node);
    if (function && depth < kMaxCallDepth && visited.insert(function).second) {
      findUnknown(function->nodes, depth + 1, visited, unknown);
    } else if (!own && !function && !lookUp(node)) {
      unknown[nameOf(node.domain, node.op)].push_back(node.name.empty() ? absl::StrCat("at byte ", node.offset)
                                                                        : absl::StrCat("\"", node.name, "\""));
    }
    for (const Attribute &attribute : node.attributes) {
      if (attribute.graph) {
        findUnknown(attribute.graph->nodes, depth, visited, unknown);
      }
    }
  }
}

// One error that lists every operator that we lack, not the first one only.
absl::Status Importer::checkOps() const {
  constexpr size_t kShown = 3;
  Unknown unknown;
  std::set<const Function *> visited;
  findUnknown(model_.graph.nodes, 0, visited, unknown);
  if (unknown.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::string> items;
  for (const auto &[op, nodes] : unknown) {
    std::string text = absl::StrCat(op, " (");
    for (size_t i = 0; i < std::min(kShown, nodes.size()); ++i) {
      absl::StrAppend(&text, i ? ", " : nodes.size() == 1 ? "node " : "nodes ", nodes[i]);
    }
    absl::StrAppend(&text, nodes.size() > kShown ? absl::StrCat(" and ", nodes.size() - kShown, " more)") : ")");
    items.push_back(std::move(text));
  }
  return absl::UnimplementedError(absl::StrCat(
      path_, ": ", items.size() == 1 ? "an operator is" : absl::StrCat(items.size(), " operators are"),
      " not supported: ", absl::StrJoin(items, "; "),
      ". Export the model without them (other exporter options, or as model-local functions), or add them to "
      "dialects/onnx"));
}

absl::StatusOr<OwningOpRef<ModuleOp>> Importer::run() {
  context_->loadDialect<EmoeDialect, OnnxDialect, func::FuncDialect>();
  for (const Function &function : model_.functions) {
    if (!functions_.try_emplace(keyOf(function.domain, function.name, function.overload), &function).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": function ", nameOf(function.domain, function.name), " is defined twice"));
    }
  }
  EMOE_RETURN_IF_ERROR(checkOps());
  ScopedDiagnosticHandler handler(context_, [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error && diagnostics_.size() < 4096) {
      std::string where;
      llvm::raw_string_ostream(where) << diagnostic.getLocation();
      absl::StrAppend(&diagnostics_, diagnostics_.empty() ? "" : "; ", where, ": ", diagnostic.str());
    }
    return success();
  });
  OwningOpRef<ModuleOp> module = ModuleOp::create(NameLoc::get(builder_.getStringAttr(path_.substr(path_.rfind('/') + 1))));
  module_ = *module;
  module_->setAttr("onnx.ir_version", builder_.getI64IntegerAttr(model_.irVersion));
  for (const auto &[domain, version] : model_.opsets) {
    if (domain.empty()) {
      module_->setAttr("onnx.opset", builder_.getI64IntegerAttr(version));
    }
  }
  if (!model_.producer.empty()) {
    module_->setAttr("onnx.producer", builder_.getStringAttr(model_.producer + (model_.producerVersion.empty() ? "" : " ") +
                                                             model_.producerVersion));
  }
  symbols_["main"] = 0;
  EMOE_RETURN_IF_ERROR(importMain());
  if (failed(mlir::verify(module_))) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": the model is not valid: ", diagnostics_));
  }
  return module;
}

} // namespace

absl::StatusOr<OwningOpRef<ModuleOp>> importModel(const std::string &path, MLIRContext &context, WeightStore &store) {
  absl::Status added = store.addFile(kModelFile, path);
  if (!added.ok()) {
    return added;
  }
  absl::StatusOr<Model> model = readModel(*store.bytes(kModelFile), path);
  if (!model.ok()) {
    return model.status();
  }
  return Importer(path, *model, context, store).run();
}

} // namespace emoe::onnx
