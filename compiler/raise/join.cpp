#include "compiler/raise/join.h"

#include "compiler/raise/raise.h"
#include "dialects/emoe/emoe.h"
#include "llvm/ADT/DenseSet.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace emoe {

static constexpr const char *kHowTo = "compile the two files together, the encoder first: emoec compile ENCODER.onnx "
                                      "DECODER.onnx -o OUT.emoe";

static func::FuncOp mainOf(ModuleOp module) { return module.lookupSymbol<func::FuncOp>("main"); }

LogicalResult checkDecoder(ModuleOp module) {
  func::FuncOp main = mainOf(module);
  if (main.getNumArguments() > 1) {
    return main.emitError("this is the decoder of an encoder-decoder model: it takes the encoder's result; ") << kHowTo;
  }
  for (AttentionOp attention : main.getOps<AttentionOp>()) {
    if (attention.getBidirectional()) {
      return attention.emitError("this attention sees later positions, so the model is an encoder, which makes no tokens "
                                 "alone; ")
             << kHowTo;
    }
  }
  return success();
}

// Source names of the encoder's files in the decoder's store; NAME -> encoder.NAME.
static void renameEncoder(ModuleOp encoder, StringRef prefix) {
  AttrTypeReplacer replacer;
  MLIRContext *context = encoder.getContext();
  replacer.addReplacement([&](SourceAttr source) -> std::optional<Attribute> {
    if (source.getFile() == WeightStore::kOne) {
      return std::nullopt;
    }
    return SourceAttr::get(context, StringAttr::get(context, prefix + source.getFile().getValue()), source.getOffset(),
                           source.getElement(), source.getStrides());
  });
  replacer.addReplacement([&](FlatSymbolRefAttr symbol) -> std::optional<Attribute> {
    return FlatSymbolRefAttr::get(context, "encoder." + symbol.getValue().str());
  });
  for (auto weight : encoder.getOps<WeightOp>()) {
    replacer.replaceElementsIn(weight);
    weight.setSymName("encoder." + weight.getSymName().str());
  }
  mainOf(encoder).walk([&](Operation *op) {
    if (!isa<func::FuncOp>(op)) {
      replacer.replaceElementsIn(op);
    }
  });
}

// Values of the decoder that follow from the encoder's result alone.
static llvm::DenseSet<Value> valuesOfSource(func::FuncOp main, Value source) {
  llvm::DenseSet<Value> values{source};
  for (Operation &op : main.getBody().front()) {
    if (op.getNumOperands() != 0 && op.getNumResults() != 0 &&
        llvm::all_of(op.getOperands(), [&](Value operand) { return values.contains(operand); })) {
      values.insert(op.result_begin(), op.result_end());
    }
  }
  return values;
}

LogicalResult joinEncoder(ModuleOp decoder, WeightStore &store, ModuleOp encoder, WeightStore &encoderStore) {
  func::FuncOp main = mainOf(decoder), first = mainOf(encoder);
  Block &body = main.getBody().front(), &before = first.getBody().front();
  if (first.getNumArguments() != 1) {
    return first.emitError("the first model takes an encoder's result itself; give the encoder first, then the decoder");
  }
  if (main.getNumArguments() != 2) {
    return main.emitError("the second model takes no encoder's result: an input \"encoder_hidden_states\" [batch, source, "
                          "width]; give the encoder first, then its decoder");
  }
  int64_t attentions = 0, mixtures = 0, own = 0;
  for (AttentionOp attention : first.getOps<AttentionOp>()) {
    if (!attention.getBidirectional()) {
      return attention.emitError("this attention hides later positions, so the first model is no encoder; give the encoder "
                                 "first, then the decoder");
    }
    ++attentions;
  }
  for (ShortConvOp conv : first.getOps<ShortConvOp>()) {
    return conv.emitError("recurrent states in an encoder are not supported");
  }
  Value source = body.getArgument(1), result = before.getTerminator()->getOperand(0);
  int64_t made = cast<RankedTensorType>(result.getType()).getDimSize(1);
  int64_t read = cast<RankedTensorType>(source.getType()).getDimSize(1);
  if (made != read) {
    return main.emitError("the encoder's result is ") << made << " wide, but the decoder reads rows that are " << read
                                                      << " wide: they are not of one model";
  }
  for (MoeOp moe : first.getOps<MoeOp>()) {
    (void)moe;
    ++mixtures;
  }
  llvm::DenseSet<Value> ofSource = valuesOfSource(main, source);
  for (AttentionOp attention : main.getOps<AttentionOp>()) {
    bool crosses = ofSource.contains(attention.getKey()) && ofSource.contains(attention.getValue());
    if (static_cast<bool>(attention.getBidirectional()) != crosses || ofSource.contains(attention.getQuery())) {
      return attention.emitError("this attention of the decoder sees later positions, or is one over the encoder's result "
                                 "that does not see all of it; neither is supported");
    }
    own += !crosses;
    attention.setLayer(attention.getLayer() + attentions);
  }
  for (MoeOp moe : main.getOps<MoeOp>()) {
    moe.setLayer(moe.getLayer() + mixtures);
  }
  for (RouteOp route : main.getOps<RouteOp>()) {
    if (route.getRanked()) {
      route.emitRemark("second choices find room beside the first choices of the whole sequence, which this decoder cannot know "
                       "of tokens to come: from ")
          << route.getCapacity() + 1 << " tokens on, results can differ from the file's. The number is the experts' capacity, "
          << "most often that of the tokens in the exporter's example: export with a longer one";
      break;
    }
  }
  // An encoder's input comes whole.
  for (NumberTokensOp number : first.getOps<NumberTokensOp>()) {
    number.removeStateAttr();
  }
  for (Operation *user : body.getArgument(0).getUsers()) {
    if (!isa<EmbeddingOp, NumberTokensOp>(user)) {
      return user->emitError("token ids are used for more than looking up their embedding");
    }
  }

  const std::string prefix = "encoder/";
  if (absl::Status status = store.absorb(encoderStore, prefix); !status.ok()) {
    return decoder.emitError("the encoder's files cannot be used beside the decoder's: ") << std::string(status.message());
  }
  renameEncoder(encoder, prefix);
  OpBuilder builder(main);
  IRMapping map;
  for (auto weight : llvm::make_early_inc_range(encoder.getOps<WeightOp>())) {
    weight->remove();
    builder.insert(weight);
  }
  Value ids = body.addArgument(before.getArgument(0).getType(), main.getLoc());
  map.map(before.getArgument(0), ids);
  builder.setInsertionPointToStart(&body);
  for (Operation &op : before.without_terminator()) {
    builder.clone(op, map);
  }
  source.replaceAllUsesWith(map.lookup(result));
  body.eraseArgument(1);
  main.setType(builder.getFunctionType(body.getArgumentTypes(), main.getResultTypes()));

  // One embedding for both, if it is one: of tokens, of positions.
  SymbolTable symbols(decoder);
  auto hash = [&](WeightOp weight) {
    return store.contentHash(weight.getSource(), weight.getShape()[0], weight.getShape()[1]);
  };
  SmallVector<EmbeddingOp> embeddings(main.getOps<EmbeddingOp>());
  for (auto [index, embedding] : llvm::enumerate(embeddings)) {
    for (EmbeddingOp other : ArrayRef<EmbeddingOp>(embeddings).drop_front(index + 1)) {
      auto a = symbols.lookup<WeightOp>(embedding.getWeight()), b = symbols.lookup<WeightOp>(other.getWeight());
      if (a == b || a.getShape() != b.getShape()) {
        continue;
      }
      auto hashA = hash(a), hashB = hash(b);
      if (hashA.ok() && hashB.ok() && *hashA == *hashB) {
        StringAttr from = a.getSymNameAttr();
        for (EmbeddingOp user : embeddings) {
          if (user.getWeightAttr().getAttr() == from) {
            user.setWeight(b.getSymName());
          }
        }
        symbols.erase(a);
        break;
      }
    }
  }
  auto facts = decoder->getAttrOfType<DictionaryAttr>("emoe.model");
  const int64_t vocabulary = facts.getAs<IntegerAttr>("vocab").getInt();
  for (EmbeddingOp embedding : main.getOps<EmbeddingOp>()) {
    if (embedding.getIds().getDefiningOp<NumberTokensOp>()) {
      continue;
    }
    auto table = SymbolTable::lookupNearestSymbolFrom<WeightOp>(main, embedding.getWeightAttr());
    if (table.getShape()[0] < vocabulary) {
      return embedding.emitError("this embedding has ") << table.getShape()[0] << " tokens, fewer than the "
                                                        << vocabulary << " that have logits: they are not of one model";
    }
  }
  NamedAttrList model(facts);
  model.set("layers", builder.getI64IntegerAttr(attentions + own));
  decoder->setAttr("emoe.model", model.getDictionary(decoder.getContext()));
  limitPositions(decoder);
  return success();
}

} // namespace emoe
