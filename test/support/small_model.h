// A bundle small enough to break in every way: one attention layer, two mixture layers of three experts with two
// variants, every kind of operand. Its kernels are no code; nothing runs it.
#ifndef EMOE_TEST_SUPPORT_SMALL_MODEL_H_
#define EMOE_TEST_SUPPORT_SMALL_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "compiler/bundle/writer.h"

namespace emoe::test {

// Contents that writeBundle accepts. Bytes of tensors, records and images are a fixed pseudo-random stream.
BundleContents smallModel();

// The file of contents after `change`, without the writer's own check that the runtime accepts it: sections are laid
// out for smallModel(), and only the index differs.
std::vector<uint8_t> bundleWithIndex(const std::function<void(fb::BundleT &)> &change);

// Recomputes the checksum of the index section (as long as it lies inside the file) and that of the header.
void repairChecksums(std::vector<uint8_t> &bundle);

} // namespace emoe::test

#endif // EMOE_TEST_SUPPORT_SMALL_MODEL_H_
