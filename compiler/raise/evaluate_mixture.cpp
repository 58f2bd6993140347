// Evaluation of routing and experts: emoe.route, emoe.moe.
#include <cmath>
#include <map>
#include <numeric>

#include "compiler/raise/evaluate_emoe.h"

using namespace mlir;

namespace emoe {

using Values = std::vector<double>;

namespace {

// softmax over all values, in place.
void softmax(Values &values) {
  double largest = *std::max_element(values.begin(), values.end()), sum = 0;
  for (double &value : values) {
    sum += value = std::exp(value - largest);
  }
  for (double &value : values) {
    value /= sum;
  }
}

// What a token's experts and their weights are before renormalising: both by ascending expert.
using Choice = std::map<int64_t, double>;

Choice mixSparsely(RouteOp op, const Values &logits) {
  double threshold = op.getThreshold().convertToFloat();
  Choice chosen;
  for (int64_t round = 0; round < static_cast<int64_t>(op.getTopK()); ++round) {
    int64_t best = -1;
    for (size_t expert = 0; expert < logits.size(); ++expert) {
      if (!chosen.count(expert) && (best < 0 || logits[expert] > logits[best])) {
        best = expert;
      }
    }
    double sum = 0;
    for (size_t expert = 0; expert < logits.size(); ++expert) {
      double distance = (logits[best] - logits[expert]) / std::max(std::abs(logits[expert]), logits[best]);
      if (!chosen.count(expert) && !(distance > threshold)) {
        sum += std::exp(logits[expert] - logits[best]);
      }
    }
    chosen[best] = 1 / sum;
  }
  return chosen;
}

Choice choose(RouteOp op, Values score, const Values &bias) {
  int64_t experts = score.size(), groups = op.getGroups(), size = experts / groups;
  if (op.getScore() == ScoreFunction::Softmax) {
    softmax(score);
  } else if (op.getScore() == ScoreFunction::Sigmoid) {
    for (double &s : score) {
      s = 1 / (1 + std::exp(-s));
    }
  }
  Values choice = score;
  for (int64_t expert = 0; !bias.empty() && expert < experts; ++expert) {
    choice[expert] += bias[expert];
  }
  auto largest = [](const Values &values, int64_t count) {
    std::vector<int64_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    llvm::stable_sort(order, [&](int64_t a, int64_t b) { return values[a] > values[b]; });
    order.resize(count);
    return order;
  };
  if (groups > 1) {
    Values groupScores;
    for (int64_t group = 0; group < groups; ++group) {
      Values own(choice.begin() + group * size, choice.begin() + (group + 1) * size);
      llvm::sort(own, std::greater<double>());
      groupScores.push_back(std::accumulate(own.begin(), own.begin() + op.getGroupTop(), 0.0));
    }
    std::vector<int64_t> kept = largest(groupScores, op.getTopGroups());
    for (int64_t expert = 0; expert < experts; ++expert) {
      if (!llvm::is_contained(kept, expert / size)) {
        choice[expert] = op.getGroupFill().convertToFloat();
      }
    }
  }
  Choice chosen;
  for (int64_t expert : largest(choice, op.getTopK())) {
    chosen[expert] = score[expert];
  }
  return chosen;
}

// Clears the weights of choices, two a token, that find no room: second ones after the first ones of all tokens.
void dropRanked(ArrayRef<int64_t> ids, Values &weights, int64_t experts, int64_t capacity) {
  const size_t tokens = ids.size() / 2;
  std::vector<size_t> first(tokens);
  std::vector<int64_t> firsts(experts), seconds(experts), all(experts);
  for (size_t t = 0; t < tokens; ++t) {
    first[t] = 2 * t + (weights[2 * t] >= weights[2 * t + 1] ? 0 : 1);
    ++all[ids[first[t]]];
  }
  for (size_t t = 0; t < tokens; ++t) {
    const size_t second = 4 * t + 1 - first[t];
    if (++firsts[ids[first[t]]] > capacity) {
      weights[first[t]] = 0;
    }
    if (++seconds[ids[second]] + all[ids[second]] > capacity) {
      weights[second] = 0;
    }
  }
}

} // namespace

static LogicalResult evaluateRoute(RouteOp op, Evaluator &e) {
  Tensor logits = e.get(op.getLogits());
  int64_t tokens = logits.shape[0], experts = logits.shape[1], k = static_cast<int64_t>(op.getTopK());
  auto vector = [&](FlatSymbolRefAttr name) { return name ? readVector(op, e, name) : FailureOr<Values>(Values()); };
  auto bias = vector(op.getSelectionBiasAttr()), expertScale = vector(op.getExpertScaleAttr());
  if (failed(bias) || failed(expertScale)) {
    return failure();
  }
  std::vector<int64_t> ids;
  Values weights;
  const int64_t capacity = op.getCapacity();
  std::map<int64_t, int64_t> taken;
  if (capacity && e.position != 0) {
    return op.emitOpError("cannot be evaluated: its experts have a capacity, and tokens came before");
  }
  for (int64_t t = 0; t < tokens; ++t) {
    Values row(logits.f() + t * experts, logits.f() + (t + 1) * experts), chosen;
    for (auto [expert, weight] : op.getScore() == ScoreFunction::SparseMixer ? mixSparsely(op, row)
                                                                             : choose(op, row, *bias)) {
      ids.push_back(expert);
      chosen.push_back(weight);
    }
    if (op.getSoftmaxAfter()) {
      softmax(chosen);
    }
    double divisor = 1;
    if (op.getRenormalise()) {
      divisor = std::accumulate(chosen.begin(), chosen.end(), 0.0) + op.getEpsilon().convertToFloat();
    }
    for (int64_t slot = 0; slot < k; ++slot) {
      double own = expertScale->empty() ? 1 : (*expertScale)[ids[t * k + slot]];
      const bool fits = capacity == 0 || op.getRanked() || taken[ids[t * k + slot]]++ < capacity;
      weights.push_back(fits ? chosen[slot] / divisor * op.getScale().convertToFloat() * own : 0);
    }
  }
  if (op.getRanked()) {
    dropRanked(ids, weights, experts, capacity);
  }
  for (int64_t t = 0; op.getRenormaliseKept() && t < tokens; ++t) {
    double *row = weights.data() + t * k, scale = op.getScale().convertToFloat();
    double divisor = std::max<double>(std::accumulate(row, row + k, 0.0) / scale, op.getEpsilon().convertToFloat());
    std::transform(row, row + k, row, [&](double weight) { return weight / divisor; });
  }
  e.set(op.getIds(), Tensor::of({tokens, k}, std::move(ids)));
  e.set(op.getWeights(), Tensor::of({tokens, k}, std::move(weights)));
  return success();
}

static LogicalResult evaluateMoe(MoeOp op, Evaluator &e) {
  Tensor x = e.get(op.getInput()), ids = e.get(op.getIds()), weights = e.get(op.getWeights());
  int64_t tokens = x.shape[0], width = x.shape[1], k = ids.shape[1];
  int64_t experts = static_cast<int64_t>(op.getUp().size());
  if (ids.shape != weights.shape || ids.shape[0] != tokens) {
    return op.emitOpError("cannot be evaluated: tokens, ids and weights have different numbers of rows");
  }
  // Which (token, place) pairs meet an expert, by ascending expert: the order in which results are summed.
  std::map<int64_t, std::vector<int64_t>> pairs;
  for (int64_t n = 0; n < ids.size(); ++n) {
    if (ids.i()[n] < 0 || ids.i()[n] >= experts) {
      return op.emitOpError("expert ") << ids.i()[n] << " was chosen, but there are " << experts;
    }
    pairs[ids.i()[n]].push_back(n);
  }
  auto symbol = [](ArrayAttr list, int64_t expert) { return cast<FlatSymbolRefAttr>(list[expert]); };
  Values out(tokens * width, 0.0);
  for (auto &[expert, list] : pairs) {
    Values input;
    for (int64_t n : list) {
      input.insert(input.end(), x.f() + n / k * width, x.f() + (n / k + 1) * width);
    }
    int64_t count = static_cast<int64_t>(list.size());
    // A product with the expert's bias.
    auto product = [&, expert = expert](const Values &from, ArrayAttr matrices,
                                        std::optional<ArrayAttr> biases) -> FailureOr<Values> {
      auto y = multiplyByWeight(op, e, from.data(), count, symbol(matrices, expert));
      if (failed(y) || !biases) {
        return y;
      }
      auto bias = readVector(op, e, symbol(*biases, expert));
      if (failed(bias)) {
        return failure();
      }
      for (size_t i = 0; i < y->size(); ++i) {
        (*y)[i] += (*bias)[i % bias->size()];
      }
      return y;
    };
    auto hidden = product(input, op.getUp(), op.getUpBias());
    if (failed(hidden)) {
      return failure();
    }
    double alpha = op.getAlpha().convertToFloat(), offset = op.getOffset().convertToFloat();
    double limit = op.getLimit().convertToFloat();
    if (op.getGate()) {
      auto gate = product(input, *op.getGate(), op.getGateBias());
      if (failed(gate)) {
        return failure();
      }
      for (auto [h, g] : llvm::zip(*hidden, *gate)) {
        if (limit > 0) {
          g = std::min(g, limit);
          h = std::max(-limit, std::min(limit, h));
        }
        double active = op.getActivation() == Activation::Silu ? g / (1 + std::exp(-alpha * g))
                                                               : activate(op.getActivation(), g);
        h = active * (h + offset);
      }
    } else {
      for (double &h : *hidden) {
        h = activate(op.getActivation(), h);
      }
    }
    auto result = product(*hidden, op.getDown(), op.getDownBias());
    if (failed(result)) {
      return failure();
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < width; ++d) {
        out[list[i] / k * width + d] += weights.f()[list[i]] * (*result)[i * width + d];
      }
    }
  }
  e.set(op.getResult(), Tensor::of(x.shape, std::move(out)));
  return success();
}

void addMixtureOps(EvaluateTable &table) {
  addOp<RouteOp>(table, evaluateRoute);
  addOp<MoeOp>(table, evaluateMoe);
}

} // namespace emoe
