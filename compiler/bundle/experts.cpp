#include "compiler/bundle/experts.h"

#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/pack.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

// One matrix, panel by panel: reads rows, packs them, moves on. With a rounder the codes of the whole matrix are chosen
// first.
class PanelPacker {
public:
  PanelPacker(WeightOp weight, LayoutAttr layout, const WeightStore &store)
      : weight(weight), store(store), layout(layout), rows(weight.getShape()[0]), columns(weight.getShape()[1]) {}

  int64_t panels() const { return (rows + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS; }
  uint64_t bytes() const { return panelBytes(layout, columns); }

  absl::Status round(Rounder &rounder) {
    if (kept(0, rows)) {
      return absl::OkStatus();
    }
    values.resize(rows * columns);
    codes.resize(rows * columns);
    scales.resize(rows * scalesPerRow(layout, columns));
    absl::Status status = store.read(weight.getSource(), columns, 0, rows, values.data());
    if (status.ok()) {
      auto record = cast<RecordAttr>(*weight.getPlacement());
      status = rounder.round({record.getLayer(), record.getExpert(), record.getPart()}, layout, values.data(), rows, columns,
                             codes.data(), scales.data());
    }
    values = {};
    return inWeight(status, 0);
  }

  absl::Status pack(int64_t panel, uint8_t *out) {
    int64_t first = panel * EMOE_PANEL_ROWS;
    int64_t count = std::min<int64_t>(EMOE_PANEL_ROWS, rows - first);
    if (!codes.empty()) {
      return inWeight(packCodes(layout, &codes[first * columns], &scales[first * scalesPerRow(layout, columns)], count,
                                columns, out),
                      first);
    }
    if (kept(first, count)) {
      absl::Status status = packCodes(layout, codes.data(), scales.data(), count, columns, out);
      codes.clear();
      return inWeight(status, first);
    }
    values.resize(EMOE_PANEL_ROWS * columns);
    absl::Status status = store.read(weight.getSource(), columns, first, count, values.data());
    if (status.ok()) {
      status = packPanel(layout, values.data(), count, columns, out);
    }
    return inWeight(status, first);
  }
  void release() { store.release(weight.getSource(), rows, columns); }

private:
  // If the file's own codes are codes of the layout, and each group has one scale: takes them, so that nothing is rounded
  // but scales to f16.
  bool kept(int64_t first, int64_t count) {
    StringRef file = weight.getSource().getFile().getValue();
    if (!layout.hasScales() || !layout.isPacked() || layout.getCodebook() != Codebook::Integer ||
        !store.quantised(std::string_view(file.data(), file.size()))) {
      return false;
    }
    std::vector<int16_t> own(count * columns);
    scales.resize(count * scalesPerRow(layout, columns));
    const Grid grid = gridOf(layout);
    const int lowest = static_cast<int>(grid.first);
    codes.clear();
    codes.reserve(own.size());
    if (!store.readQuantised(weight.getSource(), columns, first, count, layout.getGroup(), own.data(), scales.data())) {
      return false;
    }
    // A scale that float16 has not must be chosen anew.
    if (llvm::any_of(scales, [](float scale) { return !std::isfinite(storedScale(scale)); })) {
      return false;
    }
    for (int16_t code : own) {
      if (code < lowest || code - lowest >= grid.levels) {
        codes.clear();
        return false;
      }
      codes.push_back(static_cast<uint8_t>(code - lowest));
    }
    return true;
  }

  absl::Status inWeight(const absl::Status &status, int64_t first) {
    return status.ok() ? status
                       : absl::Status(status.code(), absl::StrCat("weight ", weight.getSymName().str(), ", rows from ",
                                                                  first, ": ", status.message()));
  }

  WeightOp weight;
  const WeightStore &store;
  LayoutAttr layout;
  int64_t rows, columns;
  std::vector<float> values;   // of a panel
  std::vector<uint8_t> codes;  // of the matrix, and their scales; empty without a rounder
  std::vector<float> scales;
};

} // namespace

absl::StatusOr<std::vector<std::vector<ExpertWeights>>> findExperts(ModuleOp module) {
  std::map<int64_t, std::map<int64_t, ExpertWeights>> found;
  for (WeightOp weight : module.getOps<WeightOp>()) {
    if (auto record = dyn_cast<RecordAttr>(*weight.getPlacement())) {
      ExpertWeights &expert = found[record.getLayer()][record.getExpert()];
      WeightOp *parts[] = {&expert.gate, &expert.up, &expert.down, &expert.gateBias, &expert.upBias, &expert.downBias};
      *parts[static_cast<size_t>(record.getPart())] = weight;
    }
  }
  std::vector<std::vector<ExpertWeights>> experts;
  for (RecordsOp records : module.getOps<RecordsOp>()) {
    std::vector<ExpertWeights> layer;
    for (size_t expert = 0; expert < records.getVariantOf().size(); ++expert) {
      layer.push_back(found[records.getLayer()][expert]);
      if (!layer.back().up || !layer.back().down) {
        return absl::InternalError(
            absl::StrCat("expert ", expert, " of layer ", records.getLayer(), " has no weights"));
      }
    }
    experts.push_back(std::move(layer));
  }
  return experts;
}

// Biases behind the panels of `matrix`, as floats; missing ones stay zero.
static absl::Status packBias(WeightOp bias, const WeightStore &store, uint8_t *out) {
  if (!bias) {
    return absl::OkStatus();
  }
  std::vector<float> values(bias.getShape()[1]);
  absl::Status status = store.read(bias.getSource(), bias.getShape()[1], 0, 1, values.data());
  std::memcpy(out, values.data(), values.size() * sizeof(float));
  return status;
}

absl::Status packTensor(WeightOp weight, const WeightStore &store, uint8_t *out, uint64_t bytes) {
  LayoutAttr layout = *weight.getLayout();
  if (layout.getPanel() == 1) {
    int64_t rows = weight.getShape()[0], columns = weight.getShape()[1];
    std::vector<float> values(rows * columns);
    if (absl::Status status = store.read(weight.getSource(), columns, 0, rows, values.data()); !status.ok()) {
      return status;
    }
    std::memset(out, 0, bytes);
    std::memcpy(out, values.data(), values.size() * sizeof(float));
    return absl::OkStatus();
  }
  PanelPacker packer(weight, layout, store);
  for (int64_t panel = 0; panel < packer.panels(); ++panel) {
    if (absl::Status status = packer.pack(panel, out + panel * packer.bytes()); !status.ok()) {
      return status;
    }
  }
  packer.release();
  return absl::OkStatus();
}

absl::Status packRecord(const ExpertWeights &expert, VariantAttr variant, const WeightStore &store, uint8_t *out,
                        Rounder *rounder, LayoutAttr downLayout) {
  std::memset(out, 0, variant.getBytes());
  uint8_t *at = out;
  PanelPacker up(expert.up, variant.getLayout(), store);
  PanelPacker down(expert.down, downLayout ? downLayout : variant.getLayout(), store);
  std::optional<PanelPacker> gate;
  if (expert.gate) {
    gate.emplace(expert.gate, variant.getLayout(), store);
  }
  if (rounder && variant.getLayout().hasScales()) {
    for (PanelPacker *packer : {gate ? &*gate : nullptr, &up, &down}) {
      if (absl::Status status = packer ? packer->round(*rounder) : absl::OkStatus(); !status.ok()) {
        return status;
      }
    }
  }
  for (int64_t panel = 0; panel < up.panels(); ++panel) {
    for (PanelPacker *packer : {gate ? &*gate : nullptr, &up}) {
      if (!packer) {
        continue;
      }
      if (absl::Status status = packer->pack(panel, at); !status.ok()) {
        return status;
      }
      at += packer->bytes();
    }
  }
  const bool biased = expert.gateBias || expert.upBias || expert.downBias;
  if (biased) {
    WeightOp matrix = expert.up;  // ops are handles without const
    const int64_t hidden = matrix.getShape()[0], model = matrix.getShape()[1];
    LayoutAttr layout = variant.getLayout();
    at = out + packedBytes(layout, hidden, model) * (expert.gate ? 2 : 1);
    uint8_t *downBias = out + variant.getDownOffset() + packedBytes(downLayout ? downLayout : layout, model, hidden);
    if (expert.gate) {
      if (absl::Status status = packBias(expert.gateBias, store, at); !status.ok()) {
        return status;
      }
      at += biasBytes(hidden);
    }
    if (absl::Status status = packBias(expert.upBias, store, at); !status.ok()) {
      return status;
    }
    if (absl::Status status = packBias(expert.downBias, store, downBias); !status.ok()) {
      return status;
    }
  }
  at = out + variant.getDownOffset();
  for (int64_t panel = 0; panel < down.panels(); ++panel, at += down.bytes()) {
    if (absl::Status status = down.pack(panel, at); !status.ok()) {
      return status;
    }
  }
  up.release();
  down.release();
  if (gate) {
    gate->release();
  }
  return absl::OkStatus();
}

} // namespace emoe
