// The rounder that packs records: answers are those of roundMatrix, kept or not, from any thread.
#include "compiler/bitwidth/rounder.h"

#include <cmath>
#include <random>
#include <thread>

#include "compiler/bitwidth/adapt_bitwidth.h"
#include "compiler/codegen/half.h"
#include "gtest/gtest.h"

namespace emoe {
namespace {

constexpr int64_t kRows = 16, kColumns = 64;

class RounderTest : public ::testing::Test {
protected:
  RounderTest() {
    context.loadDialect<EmoeDialect>();
    std::normal_distribution<float> normal;
    std::mt19937 random(3);
    weights.resize(kRows * kColumns);
    for (float &value : weights) {
      value = normal(random);
    }
    moments.resize(1);
    moments[0].experts.resize(2);
    for (ExpertMoments &expert : moments[0].experts) {
      for (Moment *moment : {&expert.input, &expert.hidden}) {
        moment->kind = Moment::Kind::Full;
        moment->columns = kColumns;
        moment->values.resize(kColumns * kColumns);
        for (int64_t token = 0; token < 200; ++token) {
          std::vector<float> x(kColumns);
          float shared = normal(random);
          for (float &value : x) {
            value = normal(random) + shared;
          }
          for (int64_t c = 0; c < kColumns; ++c) {
            addScaled(&moment->values[c * kColumns], x.data(), x[c], kColumns);
          }
        }
      }
    }
  }

  LayoutAttr layout(const char *name) { return formatOf(context, name)->gateUp; }

  struct Answer {
    std::vector<uint8_t> codes;
    std::vector<float> scales;
    bool operator==(const Answer &other) const { return codes == other.codes && scales == other.scales; }
  };
  Answer ask(CalibratedRounder &rounder, const ExpertMatrix &matrix, LayoutAttr format) {
    Answer answer{std::vector<uint8_t>(kRows * kColumns),
                  std::vector<float>(kRows * ((kColumns + format.getGroup() - 1) / format.getGroup()))};
    absl::Status status = rounder.round(matrix, format, weights.data(), kRows, kColumns, answer.codes.data(),
                                        answer.scales.data());
    EXPECT_TRUE(status.ok()) << status;
    return answer;
  }

  mlir::MLIRContext context;
  std::vector<float> weights;
  std::vector<LayerMoments> moments;
};

TEST_F(RounderTest, AnswersAreThoseOfRoundMatrix) {
  for (const char *name : {"ternary-128", "2-32", "3-64", "4-64"}) {
    LayoutAttr format = layout(name);
    CalibratedRounder keeps(moments, Rounding::Compensated, 1 << 20), forgets(moments, Rounding::Compensated, 0);
    for (ExpertPart part : {ExpertPart::Gate, ExpertPart::Up, ExpertPart::Down}) {
      const ExpertMatrix matrix{0, 1, part};
      const Moment &moment = part == ExpertPart::Down ? moments[0].experts[1].hidden : moments[0].experts[1].input;
      RoundedMatrix expected = roundMatrix(weights.data(), kRows,
                                           Curvature::ofMoment(moment.values.data(), kColumns, kDamping),
                                           roundingGrid(format), Rounding::Compensated);
      Answer answer = ask(keeps, matrix, format);
      EXPECT_EQ(answer.codes, expected.codes) << name;
      for (size_t i = 0; i < answer.scales.size(); ++i) {
        EXPECT_EQ(answer.scales[i], halfToFloat(expected.scales[i]));
      }
      EXPECT_EQ(ask(keeps, matrix, format), answer) << name;
      EXPECT_EQ(ask(forgets, matrix, format), answer) << name;
    }
  }
}

TEST_F(RounderTest, EightBitsAndNearestAreRoundToNearest) {
  CalibratedRounder compensated(moments, Rounding::Compensated, 1 << 20), nearest(moments, Rounding::Nearest, 1 << 20);
  EXPECT_EQ(ask(compensated, {0, 0, ExpertPart::Up}, layout("8-32")), ask(nearest, {0, 0, ExpertPart::Up}, layout("8-32")));
  EXPECT_FALSE(ask(compensated, {0, 0, ExpertPart::Up}, layout("2-64")) ==
               ask(nearest, {0, 0, ExpertPart::Up}, layout("2-64")));
}

TEST_F(RounderTest, ThreadsGetTheSame) {
  CalibratedRounder alone(moments, Rounding::Compensated, 0), shared(moments, Rounding::Compensated, 4096);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 8; ++round) {
        const ExpertMatrix matrix{0, (i + round) % 2, round % 3 == 2 ? ExpertPart::Down : ExpertPart::Up};
        EXPECT_EQ(ask(shared, matrix, layout("3-64")), ask(alone, matrix, layout("3-64")));
      }
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
}

TEST_F(RounderTest, RefusesWhatIsNotFinite) {
  weights[2 * kColumns + 5] = INFINITY;
  CalibratedRounder rounder(moments, Rounding::Compensated, 0);
  std::vector<uint8_t> codes(weights.size());
  std::vector<float> scales(kRows);
  absl::Status status = rounder.round({0, 0, ExpertPart::Up}, layout("2-64"), weights.data(), kRows, kColumns,
                                      codes.data(), scales.data());
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(status.message().find("row 2, column 5"), absl::string_view::npos) << status;
}

TEST_F(RounderTest, FormatNames) {
  for (const char *name : {"ternary-128", "2-32", "3-64", "4-256", "8-32"}) {
    EXPECT_EQ(formatName(*formatOf(context, name)), name);
  }
  auto mixed = formatOf(context, "2-128/3-64");
  ASSERT_TRUE(mixed.ok());
  EXPECT_EQ(formatName(*mixed), "2-128/3-64");
  EXPECT_EQ(mixed->gateUp.getBits(), 2u);
  EXPECT_EQ(mixed->down.getBits(), 3u);
  for (const char *name : {"", "3", "3-", "3-48", "5-32", "ternary", "16-32", "x-32", "2-32/", "/2-32", "2-32/3-32/4-32"}) {
    EXPECT_FALSE(formatOf(context, name).ok()) << name;
  }
}

} // namespace
} // namespace emoe
