// When are two claims alike? If their ops, attributes, types and wiring are equal, the numbers that were folded into
// attributes come from equal contents, and the replacement's weights lie in the original's in the same way.
#include "compiler/raise/prove.h"

#include <cstring>

#include "llvm/Support/Error.h"

using namespace mlir;

namespace emoe {

// Contents larger than this are not compared; a claim that needs it is evaluated by itself.
constexpr int64_t kMaxContents = 1 << 16;

static uint64_t handle(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); }

std::vector<uint64_t> EvaluatingProver::signatureOf(const Claim &claim, ArrayRef<Operation *> original,
                                                    ArrayRef<Operation *> replacement) {
  std::vector<uint64_t> signature;
  auto add = [&](uint64_t word) { signature.push_back(word); };
  bool comparable = true;

  // Values are numbered in the order in which they appear.
  llvm::DenseMap<Value, uint64_t> numbers;
  auto numberOf = [&](Value value) { return numbers.try_emplace(value, numbers.size()).first->second; };
  auto addInput = [&](Value value) {
    add(numberOf(value));
    add(handle(value.getType().getAsOpaquePointer()));
    for (const Facts &facts : situations) {
      std::optional<Tensor> fact = factOf(value, facts);
      if (fact && fact->kind != Tensor::Kind::Float) {
        // Integers are inputs as they are.
        add(fact->ints->size());
        llvm::append_range(signature, *fact->ints);
      }
    }
  };
  for (Value input : claim.inputs) {
    addInput(input);
  }
  for (Value past : {claim.pastKey, claim.pastValue}) {
    past ? addInput(past) : add(~uint64_t(0));
  }
  for (const Claim::State &state : claim.states) {
    addInput(state.past);
  }
  for (BlockArgument argument : function.getArguments()) {
    // Another argument is the same value for every claim.
    numbers.try_emplace(argument, 1000000 + argument.getArgNumber());
  }

  std::vector<WeightView> views[2];
  auto addOps = [&](ArrayRef<Operation *> ops, int side) {
    add(ops.size());
    for (Operation *op : ops) {
      add(handle(op->getName().getAsOpaquePointer()));
      for (Value operand : op->getOperands()) {
        // Ops come in order, so what has no number yet was not computed but set: extents.
        numbers.count(operand) ? add(numberOf(operand)) : addInput(operand);
      }
      for (Value result : op->getResults()) {
        add(numberOf(result));
        add(handle(result.getType().getAsOpaquePointer()));
      }
      for (NamedAttribute attribute : op->getAttrDictionary()) {
        // Which layer, and which weight, is what differs between members of a class.
        bool symbols = isa<FlatSymbolRefAttr>(attribute.getValue());
        if (auto list = dyn_cast<ArrayAttr>(attribute.getValue())) {
          symbols = !list.empty() && isa<FlatSymbolRefAttr>(list[0]);
        }
        if (!symbols && attribute.getName() != "layer" && attribute.getName() != "state") {
          add(handle(attribute.getName().getAsOpaquePointer()));
          add(handle(attribute.getValue().getAsOpaquePointer()));
        } else if (auto list = dyn_cast<ArrayAttr>(attribute.getValue())) {
          add(list.size());
        }
      }
      forEachWeight(op, symbols, [&](const WeightView &view) { views[side].push_back(view); });
    }
  };
  addOps(original, 0);
  addOps(replacement, 1);
  for (Value value : claim.outputs) {
    add(numberOf(value));
  }
  for (Value value : {claim.keys, claim.values}) {
    value ? add(numberOf(value)) : add(~uint64_t(0));
  }
  for (Value value : claim.replacements) {
    add(numberOf(value));
  }
  for (const Claim::State &state : claim.states) {
    add(numberOf(state.present));
  }

  // Shapes and strides of all weights, where those of the replacement lie in those of the original, and the contents
  // of those that have no counterpart.
  auto addForm = [&](const WeightView &view) {
    add(handle(view.element.getAsOpaquePointer()));
    add(view.shape.size());
    llvm::append_range(signature, view.shape);
    llvm::append_range(signature, view.strides);
  };
  auto addContents = [&](const WeightView &view) {
    auto count = countElements(view.shape);
    std::vector<double> values(count.value_or(0));
    if (!real || !count || *count > kMaxContents) {
      comparable = false;
      return;
    }
    if (llvm::Error error = real->read(view, values.data())) {
      llvm::consumeError(std::move(error));
      comparable = false;
    }
    for (double value : values) {
      uint64_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      add(bits);
    }
  };
  std::vector<bool> used(views[0].size());
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const WeightView &view : views[0]) {
    addForm(view);
    ranges.push_back(view.byteRange());
  }
  for (const WeightView &view : views[1]) {
    addForm(view);
    auto [begin, end] = view.byteRange();
    bool found = false;
    for (size_t n = 0; n < ranges.size(); ++n) {
      if (view.file != views[0][n].file || begin >= ranges[n].second || end <= ranges[n].first) {
        continue;
      }
      // Every overlap is stated, so that no other weight of the original can be mistaken for this one.
      used[n] = found = true;
      add(n);
      add(view.offset - views[0][n].offset);
    }
    add(~uint64_t(0));
    if (!found) {
      addContents(view);
    }
  }
  for (size_t n = 0; n < views[0].size(); ++n) {
    if (!used[n]) {
      addContents(views[0][n]);
    }
  }
  return comparable ? signature : std::vector<uint64_t>();
}

} // namespace emoe
