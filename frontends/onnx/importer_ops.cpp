// One node -> one op, from the op's signature (dialects/onnx/dialect.td): inputs, attributes in their newest form, regions.
#include "frontends/onnx/importer.h"

#include "absl/strings/str_join.h"
#include "frontends/onnx/status.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace emoe::onnx {

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

} // namespace emoe::onnx
