// Plain structs of a model -> IR. Ops are built from their signatures (dialects/onnx/dialect.td), so that a new op of
// the dialect needs nothing here; what older opsets wrote otherwise is brought to the newest form on the way.
#include "frontends/onnx/importer.h"

#include "absl/strings/str_join.h"
#include "frontends/onnx/order.h"
#include "frontends/onnx/status.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;

namespace emoe::onnx {
static std::string keyOf(const std::string &domain, const std::string &name, const std::string &overload) {
  return absl::StrCat(domain, "::", name, ":", overload);
}

static std::string nameOf(const std::string &domain, const std::string &op) {
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
