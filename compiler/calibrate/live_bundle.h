// A bundle that is never written: the runtime opens it like any other, and its weights are packed when they are read.
#ifndef EMOE_COMPILER_CALIBRATE_LIVE_BUNDLE_H_
#define EMOE_COMPILER_CALIBRATE_LIVE_BUNDLE_H_

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/bundle/writer.h"
#include "compiler/calibrate/calibration.h"
#include "runtime/bundle/bundle.h"

namespace emoe {

// Memory holds the index, the kernels and the tokenizer; tensors and records are made by the contents' callbacks each
// time that the runtime reads them.
//
// Records are checked as those of a file are: whoever packs one notes its checksums where the runtime looks for them. So
// nothing in the runtime knows of bundles that it should trust.
class LiveBundle : public rt::Provider {
public:
  // Fills `out` (record_bytes of the variant long) with an expert's record in a variant of its layer. Called from any
  // thread.
  using PackRecord = std::function<absl::Status(size_t layer, size_t expert, size_t variant, uint8_t *out)>;

  // `contents` needs all but `record`. InternalError: the runtime refuses the bundle.
  static absl::StatusOr<std::unique_ptr<LiveBundle>> open(BundleContents contents, PackRecord pack);
  ~LiveBundle() override;

  // Opened and validated; alive as long as this object.
  const rt::Bundle &bundle() const { return opened; }

  // Which variant each expert has from now on: before a session is created, not during its life.
  void setVariants(const Assignment &variants);

  // What the last failed Read was about; rt::Status has no room for it.
  absl::Status failure() const;

  uint64_t size() const override { return bytes; }
  rt::Status Read(uint64_t offset, void *out, size_t size) override;

private:
  LiveBundle(BundleContents contents, PackRecord pack) : contents(std::move(contents)), pack(std::move(pack)) {}
  absl::Status layOut();
  absl::Status read(uint64_t offset, uint8_t *out, size_t size);
  absl::Status readTensors(uint64_t offset, uint8_t *out, size_t size);
  absl::Status readRecords(uint64_t offset, uint8_t *out, size_t size);
  absl::Status packRecord(size_t key, uint8_t *out);

  BundleContents contents;
  PackRecord pack;
  uint64_t bytes = 0;
  std::vector<std::pair<uint64_t, std::vector<uint8_t>>> pieces; // offset and bytes

  // What `opened` points to instead of the index's own tables: records lie behind the end of the bundle, each with room
  // for its largest variant.
  rt::Bundle opened;
  uint64_t recordStride = 0;
  size_t crcStride = 0;
  std::vector<rt::MoeLayer> layers;
  std::vector<rt::Record> records;                   // all layers'
  std::vector<std::pair<uint32_t, uint32_t>> places; // layer and expert of each
  std::vector<uint32_t> crcs;

  mutable std::mutex mutex; // of `lastFailure`
  absl::Status lastFailure;
};

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_LIVE_BUNDLE_H_
