// Moments as a file, for people and tests.
#ifndef EMOE_COMPILER_CALIBRATE_SAVE_H_
#define EMOE_COMPILER_CALIBRATE_SAVE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "compiler/calibrate/calibration.h"

namespace emoe {

// Safetensors: layerL.expertE.input and .hidden, or layerL.input and .hidden, float32, [columns, columns] or [columns].
absl::Status saveMoments(const std::vector<LayerMoments> &moments, const std::string &path);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_SAVE_H_
