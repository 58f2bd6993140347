#include "compiler/inspect.h"

#include <cmath>
#include <set>

#include "dialects/emoe/emoe.h"
#include "llvm/Support/JSON.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace emoe {
namespace {

// The router's rule in words.
std::string routerText(RouteOp op) {
  std::string text;
  llvm::raw_string_ostream out(text);
  switch (op.getScore()) {
  case ScoreFunction::Softmax:
    out << "softmax over all experts";
    break;
  case ScoreFunction::Sigmoid:
    out << "sigmoid";
    break;
  case ScoreFunction::None:
    out << "logits";
    break;
  case ScoreFunction::SparseMixer:
    out << "sparse mixer (threshold " << op.getThreshold().convertToFloat() << ")";
    break;
  }
  if (op.getSelectionBias()) {
    out << " + bias for the choice";
  }
  if (static_cast<int64_t>(op.getGroups()) > 1) {
    out << ", best " << op.getTopGroups() << " of " << op.getGroups() << " groups";
  }
  out << ", top " << op.getTopK();
  if (op.getSoftmaxAfter()) {
    out << ", softmax over the chosen";
  }
  if (op.getRenormalise()) {
    out << ", divided by their sum";
    if (float epsilon = op.getEpsilon().convertToFloat(); epsilon != 0) {
      out << " + " << llvm::format("%g", epsilon);
    }
  }
  if (op.getCapacity() != 0) {
    out << ", an expert takes " << op.getCapacity() << " tokens";
    out << (op.getRanked() ? ", second choices after first ones" : "");
  }
  if (op.getRenormaliseKept()) {
    out << ", the rest divided by its sum (at least " << llvm::format("%g", op.getEpsilon().convertToFloat()) << ")";
  }
  if (float scale = op.getScale().convertToFloat(); scale != 1) {
    out << ", times " << llvm::format("%g", scale);
  }
  if (op.getExpertScale()) {
    out << ", times a factor for each expert";
  }
  return text;
}

std::string expertText(MoeOp op) {
  std::string text = stringifyActivation(op.getActivation()).str();
  text += op.getGate() ? ", gated" : ", not gated";
  if (op.getGateBias() || op.getUpBias() || op.getDownBias()) {
    text += ", with biases";
  }
  if (op.getLimit().convertToFloat() > 0) {
    text += ", clamped";
  }
  return text;
}

std::string attentionText(AttentionOp op) {
  std::string text;
  llvm::raw_string_ostream out(text);
  out << op.getHeads() << " heads, " << op.getKvHeads() << " of keys and values, " << op.getHeadDim() << " wide";
  if (static_cast<int64_t>(op.getWindow()) > 0) {
    out << ", window " << op.getWindow();
  }
  if (op.getSinks()) {
    out << ", sinks";
  }
  if (op.getSoftcap().convertToFloat() > 0) {
    out << ", softcap " << llvm::format("%g", op.getSoftcap().convertToFloat());
  }
  return text;
}

// Through what a projection's rows go before attention: a norm of its own and a rotary embedding.
std::string projectionText(AttentionOp op) {
  std::string text;
  llvm::raw_string_ostream out(text);
  Value query = op.getQuery();
  while (Operation *producer = query.getDefiningOp()) {
    if (auto norm = dyn_cast<NormOp>(producer)) {
      out << ", queries and keys normalised " << (norm.getHeads() > 1 ? "by head" : "whole");
    } else if (auto rotary = dyn_cast<RotaryOp>(producer)) {
      ArrayRef<float> frequencies = rotary.getInvFreq();
      const int64_t rotated = 2 * frequencies.size(), width = cast<RankedTensorType>(query.getType()).getDimSize(1);
      out << "; rotary, " << (rotary.getStyle() == RotaryStyle::Half ? "halves" : "neighbours");
      if (rotated < width / static_cast<int64_t>(rotary.getHeads())) {
        out << " of the first " << rotated;
      }
      // The base whose powers the frequencies are, if there is one: scaled contexts have others.
      const double base = frequencies.size() < 2 ? 0 : std::pow(frequencies[1], -static_cast<double>(frequencies.size()));
      bool plain = frequencies[0] == 1;
      for (auto [i, frequency] : llvm::enumerate(frequencies)) {
        const double power = std::pow(base, -static_cast<double>(i) / static_cast<double>(frequencies.size()));
        plain &= i < 2 || std::abs(frequency - power) <= 1e-3 * power;
      }
      if (plain && base > 0) {
        out << ", base " << llvm::format("%.4g", base);
      } else {
        out << ", scaled frequencies";
      }
      if (float magnitude = rotary.getMagnitude().convertToFloat(); magnitude != 1) {
        out << " times " << llvm::format("%g", magnitude);
      }
      if (static_cast<int64_t>(rotary.getDigits()) < 24) {
        out << ", a table of " << (static_cast<int64_t>(rotary.getDigits()) == 8 ? "bfloat16" : "float16");
      }
    } else if (!isa<SliceHeadsOp, ConcatHeadsOp>(producer)) {
      break;
    }
    query = producer->getOperand(0);
  }
  return text;
}

std::string convolutionText(ShortConvOp op, const SymbolTable &symbols) {
  auto weight = symbols.lookup<WeightOp>(op.getWeight());
  return std::to_string(weight.getShape()[0]) + " taps, " + std::to_string(weight.getShape()[1]) + " wide";
}

std::string deltaNetText(DeltaNetOp op) {
  auto width = [](Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(1); };
  const int64_t heads = op.getHeads(), keyHeads = op.getKeyHeads();
  return std::to_string(heads) + " heads of " + std::to_string(width(op.getValue()) / heads) + ", " +
         std::to_string(keyHeads) + " of keys and queries of " + std::to_string(width(op.getKey()) / keyHeads) +
         (op.getNormalise() ? ", normalised" : "");
}

// How the file stores the weights.
std::string storageOf(WeightOp weight, const WeightStore &store) {
  SourceAttr source = weight.getSource();
  std::string text;
  llvm::raw_string_ostream out(text);
  StringRef file = source.getFile().getValue();
  if (const QuantisedMatrix *quantised = store.quantised(std::string_view(file.data(), file.size()))) {
    out << storageBits(quantised->codes.getElement()) << "-bit codes with scales";
  } else {
    out << source.getElement();
  }
  return text;
}

} // namespace

void printInspection(ModuleOp raised, const WeightStore &store, const InspectionInput &input, bool json,
                     llvm::raw_ostream &out) {
  auto main = raised.lookupSymbol<func::FuncOp>("main");
  SymbolTable symbols(raised);
  auto model = raised->getAttrOfType<DictionaryAttr>("emoe.model");
  auto number = [&](StringRef key) { return model.getAs<IntegerAttr>(key).getInt(); };
  // What differs between layers is listed once for each form.
  std::vector<std::pair<std::string, int64_t>> attentions, convolutions, deltaNets, routers, experts, norms;
  auto count = [](auto &list, const std::string &text) {
    auto found = llvm::find_if(list, [&](const auto &entry) { return entry.first == text; });
    if (found == list.end()) {
      list.push_back({text, 1});
    } else {
      ++found->second;
    }
  };
  std::set<std::string> storage, denseStorage;
  int64_t mixtures = 0, expertCount = 0, expertValues = 0, denseValues = 0;
  std::set<StringRef> ofExperts;
  // Mixtures whose input also goes through other matrices than the router's; and whether the embedding makes the logits.
  int64_t shared = 0;
  std::set<StringRef> looked, multiplied;
  main.walk([&](Operation *op) {
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      count(attentions, attentionText(attention) + projectionText(attention));
    } else if (auto conv = dyn_cast<ShortConvOp>(op)) {
      count(convolutions, convolutionText(conv, symbols));
    } else if (auto net = dyn_cast<DeltaNetOp>(op)) {
      count(deltaNets, deltaNetText(net));
    } else if (auto route = dyn_cast<RouteOp>(op)) {
      count(routers, routerText(route));
    } else if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      looked.insert(embedding.getWeight());
    } else if (auto linear = dyn_cast<LinearOp>(op)) {
      multiplied.insert(linear.getWeight());
    } else if (auto norm = dyn_cast<NormOp>(op)) {
      std::string text = stringifyNormKind(norm.getKind()).str();
      llvm::raw_string_ostream(text) << ", epsilon " << llvm::format("%g", norm.getEpsilon().convertToFloat());
      count(norms, text);
    } else if (auto moe = dyn_cast<MoeOp>(op)) {
      ++mixtures;
      shared += llvm::any_of(moe.getInput().getUsers(), [](Operation *user) {
        return isa<LinearOp>(user) && llvm::none_of(user->getUsers(), [](Operation *next) { return isa<RouteOp>(next); });
      });
      expertCount += moe.getUp().size();
      auto up = symbols.lookup<WeightOp>(cast<FlatSymbolRefAttr>(moe.getUp()[0]).getValue());
      std::string text = std::to_string(moe.getUp().size()) + " experts, " + std::to_string(up.getShape()[1]) + " x " +
                         std::to_string(up.getShape()[0]) + ", " + expertText(moe);
      count(experts, text);
      for (auto list : {moe.getGate(), std::optional(moe.getUp()), std::optional(moe.getDown())}) {
        for (Attribute symbol : list ? list->getValue() : ArrayRef<Attribute>()) {
          ofExperts.insert(cast<FlatSymbolRefAttr>(symbol).getValue());
        }
      }
    }
  });
  for (WeightOp weight : raised.getOps<WeightOp>()) {
    if (ofExperts.count(weight.getSymName())) {
      storage.insert(storageOf(weight, store));
      expertValues += weight.getShape()[0] * weight.getShape()[1];
    } else if (weight.getShape()[0] > 1) {
      denseStorage.insert(storageOf(weight, store));
      denseValues += weight.getShape()[0] * weight.getShape()[1];
    }
  }
  auto joined = [](const std::set<std::string> &texts) {
    std::string all;
    for (const std::string &text : texts) {
      all += (all.empty() ? "" : ", ") + text;
    }
    return all;
  };
  const bool tied = llvm::any_of(looked, [&](StringRef name) { return multiplied.count(name) > 0; });
  if (json) {
    llvm::json::OStream object(out, 2);
    auto list = [&](StringRef key, const std::vector<std::pair<std::string, int64_t>> &entries) {
      object.attributeArray(key, [&] {
        for (const auto &[text, layers] : entries) {
          object.object([&] {
            object.attribute("form", text);
            object.attribute("layers", layers);
          });
        }
      });
    };
    object.object([&] {
      object.attribute("model", input.model);
      object.attribute("architecture", input.facts.architecture);
      object.attribute("context", input.facts.context);
      object.attribute("vocabulary", number("vocab"));
      object.attribute("hidden", number("hidden"));
      object.attribute("layers", number("layers"));
      object.attribute("mixtures", mixtures);
      object.attribute("experts", expertCount);
      object.attribute("expert_weights", expertValues);
      list("attention", attentions);
      list("short_convolutions", convolutions);
      list("gated_delta_nets", deltaNets);
      list("routers", routers);
      list("expert_forms", experts);
      object.attribute("expert_storage", joined(storage));
      object.attribute("dense_weights", denseValues);
      object.attribute("dense_storage", joined(denseStorage));
      list("norms", norms);
      object.attribute("tied_embedding", tied);
      object.attribute("shared_experts", shared);
      object.attribute("file_nodes", static_cast<int64_t>(input.fileNodes));
      object.attribute("nodes", static_cast<int64_t>(input.nodes));
      object.attributeObject("patterns", [&] {
        for (const auto &[pattern, times] : input.patterns) {
          object.attribute(pattern, static_cast<int64_t>(times));
        }
      });
    });
    out << "\n";
    return;
  }
  out << "model         " << input.model << "\n";
  out << "architecture  " << input.facts.architecture << ", " << number("layers") << " layers, " << mixtures
      << " with experts; " << number("hidden") << " wide, vocabulary " << number("vocab");
  if (input.facts.context > 0) {
    out << ", context " << input.facts.context;
  }
  out << "\n";
  auto lines = [&](StringRef label, const std::vector<std::pair<std::string, int64_t>> &entries,
                   StringRef unit = "layer") {
    for (const auto &[text, times] : entries) {
      out << label << text << "  (" << times << " " << unit << (times == 1 ? "" : "s") << ")\n";
    }
  };
  lines("attention     ", attentions);
  lines("short conv    ", convolutions);
  lines("delta net     ", deltaNets);
  lines("router        ", routers);
  lines("experts       ", experts);
  if (shared > 0) {
    out << "shared        a dense part beside the experts  (" << shared << (shared == 1 ? " layer" : " layers") << ")\n";
  }
  lines("norms         ", norms, "norm");
  out << "weights       experts " << joined(storage) << " (" << expertValues << " values); others " << joined(denseStorage)
      << " (" << denseValues << ")" << (tied ? ", embedding and logits are one" : "") << "\n";
  out << "graph         " << input.fileNodes << " nodes, " << input.nodes << " of them after folding\n";
  out << "recognised    ";
  bool first = true;
  for (const auto &[pattern, times] : input.patterns) {
    out << (first ? "" : ", ") << pattern << " x" << times;
    first = false;
  }
  out << "\n";
}

} // namespace emoe
