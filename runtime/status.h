// How the runtime reports errors: a code that says what the caller can do, a static text, a number.
#ifndef EMOE_RUNTIME_STATUS_H_
#define EMOE_RUNTIME_STATUS_H_

#include <stdint.h>

namespace emoe::rt {

enum class StatusCode : uint8_t {
  kOk = 0,
  kUsage = 2,        // the caller's argument is wrong: fix the call
  kBadBundle = 3,    // the bundle is damaged or not a bundle: get it again, or compile it again
  kIo = 4,           // the storage failed after retries: check the device, then try again
  kBudget = 5,       // the memory budget is too small: detail says the bytes that are needed
  kUnsupported = 6,  // valid, but not for this runtime or CPU: newer emoe-rt, other bundle
  kInternal = 1      // a defect of ours
};

// `what` is a static string. `detail`: bytes, offset or index, as `what` says. `where` (optional, static): section.
struct [[nodiscard]] Status {
  StatusCode code = StatusCode::kOk;
  const char *what = "";
  uint64_t detail = 0;
  uint64_t detail2 = 0;

  bool ok() const { return code == StatusCode::kOk; }
};

inline Status OkStatus() { return {}; }
inline Status Error(StatusCode code, const char *what, uint64_t detail = 0, uint64_t detail2 = 0) {
  return {code, what, detail, detail2};
}

#define RT_RETURN_IF_ERROR(expr)                 \
  do {                                           \
    ::emoe::rt::Status status_ = (expr);         \
    if (!status_.ok()) return status_;           \
  } while (0)

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_STATUS_H_
