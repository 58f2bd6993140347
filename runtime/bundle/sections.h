// The fixed part of a bundle file: header, section table, padding.
#ifndef EMOE_RUNTIME_BUNDLE_SECTIONS_H_
#define EMOE_RUNTIME_BUNDLE_SECTIONS_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// Reads and validates header and section table, checks that sections and zero padding cover the file, and sets the
// sections and has_model of `bundle`.
Status ReadSections(Provider &provider, Bundle *bundle);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_SECTIONS_H_
