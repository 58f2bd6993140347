#include "frontends/onnx/signature.h"

#include "dialects/onnx/onnx.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace emoe::onnx {

std::optional<Signature> signatureOf(RegisteredOperationName name) {
  auto *interface = name.getInterface<SignatureInterface>();
  if (!interface) {
    return std::nullopt;
  }
  Signature signature;
  auto [inputs, outputs] = interface->getSignature().split('>');
  while (!inputs.empty()) {
    llvm::StringRef item;
    std::tie(item, inputs) = inputs.split(' ');
    auto [label, kind] = item.split(':');
    signature.inputs.push_back({label, static_cast<Signature::Kind>(kind.front())});
  }
  while (!outputs.empty()) {
    llvm::StringRef item;
    std::tie(item, outputs) = outputs.split(' ');
    auto [label, rule] = item.split(':');
    const bool variadic = rule.consume_front("*");
    signature.outputs.push_back({label, variadic, rule});
  }
  return signature;
}

// A type that a rule names.
static Type keyword(llvm::StringRef name, MLIRContext *context) {
  if (name == "f32") {
    return Float32Type::get(context);
  }
  unsigned width = 0;
  const bool isUnsigned = name.consume_front("u");
  if (!name.consume_front("i") || name.getAsInteger(10, width)) {
    return nullptr;
  }
  return IntegerType::get(context, width, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
}

Type elementByRule(MLIRContext *context, llvm::StringRef rule, llvm::ArrayRef<Value> firsts, const NamedAttrList &attributes) {
  while (!rule.empty()) {
    llvm::StringRef item;
    std::tie(item, rule) = rule.split('|');
    if (llvm::isDigit(item.front())) {
      const size_t index = static_cast<size_t>(item.front() - '0');
      if (index < firsts.size() && firsts[index]) {
        return cast<TensorType>(firsts[index].getType()).getElementType();
      }
    } else if (item.consume_front("@")) {
      if (auto type = dyn_cast_or_null<TypeAttr>(attributes.get(item))) {
        return type.getValue();
      }
      if (auto value = dyn_cast_or_null<ElementsAttr>(attributes.get(item))) {
        return value.getElementType();
      }
    } else {
      return keyword(item, context);
    }
  }
  return nullptr;
}

} // namespace emoe::onnx
