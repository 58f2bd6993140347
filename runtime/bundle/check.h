// What an index must say for the runtime to trust it: FORMAT.md, "validation".
#ifndef EMOE_RUNTIME_BUNDLE_CHECK_H_
#define EMOE_RUNTIME_BUNDLE_CHECK_H_

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// Checks every number of a bundle whose sections are located and whose index is read. `what` of an error names the
// numbers that follow in parentheses: detail, detail2.
Status CheckIndex(const Bundle &bundle);

// Bytes of a matrix [rows, columns] in `layout`; false if the layout is none of FORMAT.md's, or the size overflows.
bool PackedBytes(const Layout &layout, uint64_t rows, uint64_t columns, uint64_t *bytes);

// Bytes of one panel of such a matrix with panels; false as above. Its panels follow each other without gaps.
bool PanelBytes(const Layout &layout, uint64_t columns, uint64_t *bytes);

// Bytes of the resident section before the paged tensors, which come last: all of it if there are none.
uint64_t BytesBeforePaged(const Bundle &bundle);

// Whether a step reads a paged tensor, as its second operand: the rows of the token ids, which are the first.
bool LooksUpPaged(const Bundle &bundle, const Step &step);

// Whether `text` is UTF-8 (shortest forms, no surrogates) without control characters.
bool IsPlainText(const Text &text);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_CHECK_H_
