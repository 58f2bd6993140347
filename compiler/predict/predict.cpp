#include "compiler/predict/predict.h"

#include <algorithm>
#include <cstdio>

#include "schema/format.h"

namespace emoe {
namespace {

using Kind = rt::PredictorKind;

// A predictor that costs more, or leans on the calibration text, must be better than a simpler one by more than this.
constexpr double kWorthwhile = 0.005;

// From the least that has to be known to the most that depends on the texts. Look-ahead comes before the table: it
// asks the model itself, so other texts than those of the calibration do it no harm.
constexpr Kind kOrder[] = {Kind::kStatic, Kind::kPreviousToken, Kind::kLookAhead, Kind::kTable};

const Quality *qualityOf(const LayerChoice &choice, Kind kind) {
  auto found = std::find_if(choice.judged.begin(), choice.judged.end(),
                            [&](const Quality &q) { return q.predictor == kind; });
  return found == choice.judged.end() ? nullptr : &*found;
}

void choose(LayerChoice &choice) {
  const Quality *best = nullptr;
  for (Kind kind : kOrder) {
    const Quality *quality = qualityOf(choice, kind);
    if (!quality) {
      continue;
    }
    // A table is held to more: its interval must lie above that of look-ahead.
    bool better = !best || (kind == Kind::kTable && best->predictor == Kind::kLookAhead
                                ? quality->recallLow > best->recallHigh
                                : quality->recall > best->recall + kWorthwhile);
    if (better) {
      best = quality;
    }
  }
  choice.predictor = best->predictor;
  choice.reason = best->predictor == Kind::kLookAhead ? "its own router foresees it as well as any table, on any text"
                                                      : "best recall on the text held out";
}

// Only what the layer's predictor reads, and the prior, which chunks of several tokens and the first token use.
LayerTables only(const LayerTables &tables, Kind kind) {
  LayerTables kept;
  kept.experts = tables.experts;
  kept.topK = tables.topK;
  kept.scale = tables.scale;
  kept.prior = tables.prior;
  if (kind == Kind::kPreviousToken) {
    kept.repeat = tables.repeat;
  } else if (kind == Kind::kTable) {
    kept.near = tables.near;
    kept.far = tables.far;
    kept.keys = tables.keys;
    kept.rows = tables.rows;
  } else if (kind == Kind::kLookAhead) {
    kept.ranks = tables.ranks;
  }
  return kept;
}

void write(const LayerTables &tables, fb::LayerPredictorT &entry, std::vector<uint8_t> &section) {
  entry.scale = tables.scale;
  entry.offset = section.size();
  entry.keys = tables.keys.size();
  auto append = [&](uint32_t part, const void *bytes, size_t size) {
    if (size > 0) {
      entry.parts |= part;
      section.insert(section.end(), static_cast<const uint8_t *>(bytes), static_cast<const uint8_t *>(bytes) + size);
    }
  };
  append(EMOE_PREDICTOR_KEYS, tables.keys.data(), tables.keys.size() * sizeof(uint16_t));
  append(EMOE_PREDICTOR_PRIOR, tables.prior.data(), tables.prior.size());
  append(EMOE_PREDICTOR_REPEAT, tables.repeat.data(), tables.repeat.size());
  append(EMOE_PREDICTOR_NEAR, tables.near.data(), tables.near.size());
  append(EMOE_PREDICTOR_FAR, tables.far.data(), tables.far.size());
  append(EMOE_PREDICTOR_RANKS, tables.ranks.data(), tables.ranks.size());
  append(EMOE_PREDICTOR_KEYS, tables.rows.data(), tables.rows.size());
  if (entry.parts == 0) {
    entry.offset = 0;
  }
  section.resize((section.size() + 7) / 8 * 8);
}

std::unique_ptr<fb::PredictorQualityT> toSchema(const Quality &quality) {
  auto entry = std::make_unique<fb::PredictorQualityT>();
  entry->predictor = static_cast<fb::PredictorKind>(quality.predictor);
  entry->tokens = quality.tokens;
  entry->recall = quality.recall;
  entry->recall_low = quality.recallLow;
  entry->recall_high = quality.recallHigh;
  entry->recall_2k = quality.recall2k;
  entry->precision_2k = quality.precision2k;
  return entry;
}

} // namespace

double breakEven(double hidden) { return 1 / (1 + std::clamp(hidden, 0.0, 1.0)); }

std::vector<bool> lookAheadLayers(const fb::BundleT &index) {
  std::vector<bool> layers(index.moe_layers.size());
  for (const std::unique_ptr<fb::StepT> &step : index.steps) {
    if (step->kind == fb::StepKind::LookAhead) {
      layers[step->layer] = true;
    }
  }
  return layers;
}

std::string summary(const Predictors &predictors) {
  std::string text = "predictors:";
  for (uint32_t kind = 0; kind < rt::kPredictorKinds; ++kind) {
    size_t count = std::count_if(predictors.layers.begin(), predictors.layers.end(),
                                 [&](const LayerChoice &layer) { return layer.predictor == static_cast<Kind>(kind); });
    if (count > 0) {
      text += std::string(text.back() == ':' ? " " : ", ") + rt::PredictorName(static_cast<Kind>(kind)) + " in " +
              std::to_string(count) + (count == 1 ? " layer" : " layers");
    }
  }
  double sum = 0;
  size_t judged = 0;
  for (const LayerChoice &layer : predictors.layers) {
    if (const Quality *quality = qualityOf(layer, layer.predictor)) {
      sum += quality->recall;
      ++judged;
    }
  }
  if (judged > 0) {
    char number[32];
    std::snprintf(number, sizeof(number), "; mean recall %.3f", sum / judged);
    text += number;
  }
  return text;
}

Predictors buildPredictors(const Trace &fit, const Trace &heldOut, const PredictOptions &options) {
  Predictors result;
  const size_t count = fit.layers.size();
  result.tables = fitTables(fit, options.fit);
  result.layers.resize(count);
  auto looksAhead = [&](size_t layer) {
    return layer > 0 && (options.lookAhead.empty() ? !fit.ahead.empty() : bool(options.lookAhead[layer]));
  };
  const bool judged = fit.count() > 0 && heldOut.count() >= 2 * kBlock;
  for (Kind kind : kOrder) {
    if (!judged || (kind == Kind::kLookAhead && heldOut.ahead.empty())) {
      continue;
    }
    std::vector<Quality> qualities = judge(heldOut, result.tables, kind);
    for (size_t l = 0; l < count; ++l) {
      if ((kind == Kind::kLookAhead && !looksAhead(l)) ||
          (kind == Kind::kTable && result.tables[l].near.empty() && result.tables[l].keys.empty())) {
        continue;
      }
      result.layers[l].judged.push_back(qualities[l]);
    }
  }
  for (size_t l = 0; l < count; ++l) {
    LayerChoice &choice = result.layers[l];
    choice.breakEven = breakEven(options.hidden);
    if (choice.judged.empty()) {
      choice.predictor = looksAhead(l) ? Kind::kLookAhead : Kind::kPreviousToken;
      choice.reason = "default: nothing was measured";
    } else {
      choose(choice);
    }
    auto entry = std::make_unique<fb::LayerPredictorT>();
    entry->predictor = static_cast<fb::PredictorKind>(choice.predictor);
    entry->break_even = choice.breakEven;
    write(options.allTables ? result.tables[l] : only(result.tables[l], choice.predictor), *entry, result.section);
    for (const Quality &quality : choice.judged) {
      entry->quality.push_back(toSchema(quality));
    }
    result.index.push_back(std::move(entry));
  }
  return result;
}

} // namespace emoe
