#include "compiler/bitwidth/choose.h"

#include <algorithm>

namespace emoe {
namespace {

using Experts = std::vector<std::vector<WidthOption>>;

// From one option of the lower convex hull to the next cheaper one.
struct Step {
  size_t expert;
  int from, to;
  double saved, lost; // cost and loss
  double slope() const { return lost / saved; }
};

// Indices of the options on the lower convex hull of loss over cost, from least loss to least cost.
std::vector<int> hullOf(const std::vector<WidthOption> &options) {
  std::vector<int> order(options.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int>(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return options[a].loss != options[b].loss ? options[a].loss < options[b].loss : options[a].cost < options[b].cost;
  });
  std::vector<int> hull;
  auto slope = [&](int a, int b) { return (options[b].loss - options[a].loss) / (options[a].cost - options[b].cost); };
  for (int i : order) {
    if (!hull.empty() && options[i].cost >= options[hull.back()].cost) {
      continue; // neither better nor cheaper
    }
    while (hull.size() > 1 && slope(hull[hull.size() - 2], hull.back()) >= slope(hull.back(), i)) {
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

struct Start {
  std::vector<int> choice; // least loss
  std::vector<Step> steps; // by slope: an expert's own are in order, since its hull is convex
};

Start startOf(const Experts &experts) {
  Start start;
  for (size_t expert = 0; expert < experts.size(); ++expert) {
    const std::vector<WidthOption> &options = experts[expert];
    std::vector<int> hull = hullOf(options);
    start.choice.push_back(hull.front());
    for (size_t i = 1; i < hull.size(); ++i) {
      const WidthOption &from = options[hull[i - 1]], &to = options[hull[i]];
      start.steps.push_back({expert, hull[i - 1], hull[i], from.cost - to.cost, to.loss - from.loss});
    }
  }
  std::stable_sort(start.steps.begin(), start.steps.end(),
                   [](const Step &a, const Step &b) { return a.slope() < b.slope(); });
  return start;
}

} // namespace

double totalLoss(const Experts &experts, const std::vector<int> &choice) {
  double sum = 0;
  for (size_t i = 0; i < choice.size(); ++i) {
    sum += experts[i][choice[i]].loss;
  }
  return sum;
}

double totalCost(const Experts &experts, const std::vector<int> &choice) {
  double sum = 0;
  for (size_t i = 0; i < choice.size(); ++i) {
    sum += experts[i][choice[i]].cost;
  }
  return sum;
}

std::vector<int> chooseWidths(const Experts &experts, double bound) {
  Start start = startOf(experts);
  double loss = totalLoss(experts, start.choice);
  // A step that does not fit is left out, and with it those after it of the same expert; smaller ones may still fit.
  for (const Step &step : start.steps) {
    if (start.choice[step.expert] == step.from && loss + step.lost <= bound) {
      start.choice[step.expert] = step.to;
      loss += step.lost;
    }
  }
  return start.choice;
}

std::vector<int> chooseWidthsAtCost(const Experts &experts, double limit) {
  Start start = startOf(experts);
  double cost = totalCost(experts, start.choice);
  std::vector<Step> taken;
  for (const Step &step : start.steps) {
    if (cost <= limit) {
      break;
    }
    start.choice[step.expert] = step.to;
    cost -= step.saved;
    taken.push_back(step);
  }
  // The last step may have overshot: give back what fits, dearest in loss first.
  for (auto step = taken.rbegin(); step != taken.rend(); ++step) {
    if (start.choice[step->expert] == step->to && cost + step->saved <= limit) {
      start.choice[step->expert] = step->from;
      cost += step->saved;
    }
  }
  return start.choice;
}

} // namespace emoe
