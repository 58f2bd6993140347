#include "compiler/calibrate/routing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace emoe {
namespace {

class RoutingFile : public testing::Test {
public:
  RoutingFile() { close(mkstemp(name)); }
  ~RoutingFile() override { unlink(name); }
  void write(const std::string &text) { std::ofstream(name) << text; }
  std::string refused(const std::vector<TraceLayer> &model) {
    auto routing = readRouting(name, model);
    EXPECT_EQ(routing.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(routing.status().message());
  }
  char name[40] = "/tmp/emoe-routing-XXXXXX";
};

const char *kLines = R"({"tok": 1, "layers": [[0, 2], [1]]}
{"tok": 2, "layers": [[1, 2], [0]]}
{"tok": 3, "layers": [[0, 3], [1]]}
{"tok": 4, "layers": [[2, 3], [2]]}
)";

TEST_F(RoutingFile, IsPartedAndTakesTheModelsLayers) {
  write(kLines);
  // The second layer's largest id is 2, but the model has five experts there.
  auto routing = readRouting(name, {{4, 2}, {5, 1}});
  ASSERT_TRUE(routing.ok()) << routing.status();
  EXPECT_EQ(routing->fit.count(), 3u);
  EXPECT_EQ(routing->heldOut.count(), 1u);
  EXPECT_EQ(routing->fit.layers[1].experts, 5u);
  EXPECT_EQ(routing->fit.experts, (std::vector<int32_t>{0, 2, 1, 1, 2, 0, 0, 3, 1}));
  EXPECT_EQ(routing->heldOut.experts, (std::vector<int32_t>{2, 3, 2}));
}

TEST_F(RoutingFile, OfAnotherModelIsRefusedByWhatDiffers) {
  write(kLines);
  EXPECT_NE(refused({{4, 2}, {5, 1}, {5, 1}}).find("the model has 3 layers"), std::string::npos);
  EXPECT_NE(refused({{4, 2}, {5, 2}}).find("2 layers (4 experts, top 2; 4 experts, top 1)"), std::string::npos);
  EXPECT_NE(refused({{3, 2}, {5, 1}}).find("another model's"), std::string::npos);
  write("{\"tok\": 1, \"layers\": [[0, 2], [1]]}\n");
  EXPECT_NE(refused({{4, 2}, {5, 1}}).find("too few"), std::string::npos);
}

TEST_F(RoutingFile, SavedIsReadAgain) {
  write(kLines);
  auto routing = readRouting(name, {{4, 2}, {4, 1}});
  ASSERT_TRUE(routing.ok()) << routing.status();
  ASSERT_TRUE(saveRouting(*routing, name).ok());
  auto again = readRouting(name, {{4, 2}, {4, 1}});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->fit.count() + again->heldOut.count(), 4u);
  EXPECT_EQ(saveRouting(*routing, "/no/such/folder/x").code(), absl::StatusCode::kUnavailable);
}

} // namespace
} // namespace emoe
