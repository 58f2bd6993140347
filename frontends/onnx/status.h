// One macro for absl::Status.
#ifndef EMOE_FRONTENDS_ONNX_STATUS_H_
#define EMOE_FRONTENDS_ONNX_STATUS_H_

#include "absl/status/status.h"

// Returns from the function if `expression` is not OK.
#define EMOE_RETURN_IF_ERROR(expression)                                                                               \
  do {                                                                                                                 \
    if (absl::Status status_ = (expression); !status_.ok()) {                                                          \
      return status_;                                                                                                  \
    }                                                                                                                  \
  } while (false)

#endif // EMOE_FRONTENDS_ONNX_STATUS_H_
