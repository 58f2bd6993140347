// The widths of all experts at once: a multiple-choice knapsack.
#ifndef EMOE_COMPILER_BITWIDTH_CHOOSE_H_
#define EMOE_COMPILER_BITWIDTH_CHOOSE_H_

#include <cstdint>
#include <vector>

namespace emoe {

// One way in which an expert can be stored.
struct WidthOption {
  double loss = 0; // predicted, in nats a token; not negative
  double cost = 0; // what is to be small: see expectedCosts
};

// Exactly one option for each expert (an index into its list), so that the sum of losses is at most `bound` and the
// sum of costs as small as Lagrange's relaxation with a greedy filling of the rest finds: above the optimum by less
// than the dearest single step. If even the options of least loss exceed the bound, those are returned.
std::vector<int> chooseWidths(const std::vector<std::vector<WidthOption>> &experts, double bound);

// The same for a given sum of costs: at most `limit`, and the loss small. If even the cheapest options exceed it, those.
std::vector<int> chooseWidthsAtCost(const std::vector<std::vector<WidthOption>> &experts, double limit);

double totalLoss(const std::vector<std::vector<WidthOption>> &experts, const std::vector<int> &choice);
double totalCost(const std::vector<std::vector<WidthOption>> &experts, const std::vector<int> &choice);

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_CHOOSE_H_
