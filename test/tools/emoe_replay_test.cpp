// emoe-replay's numbers, shape of output and errors.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "compiler/plan/trace_file.h"
#include "llvm/Support/JSON.h"
#include "test/compiler/plan/support.h"

namespace emoe {
namespace {

struct Result {
  std::string out, error;
  int code;
};

std::string read(const std::string &path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class EmoeReplay : public testing::Test {
protected:
  Result run(const std::string &arguments) {
    Result result;
    std::string command = std::string(EMOE_REPLAY) + " " + arguments + " >" + path + ".out 2>" + path + ".err";
    result.code = WEXITSTATUS(system(command.c_str()));
    result.out = read(path + ".out");
    result.error = read(path + ".err");
    return result;
  }
  void SetUp() override {
    path = testing::TempDir() + "emoe-replay-" + std::to_string(getpid());
    write(formatTrace(test::randomTrace(1, {{8, 2}, {8, 2}}, 200)));
  }
  void write(const std::string &text) { std::ofstream(path) << text; }
  void TearDown() override {
    for (const char *end : {"", ".out", ".err"}) {
      unlink((path + end).c_str());
    }
  }
  std::string path;
};

TEST_F(EmoeReplay, ConvertsCsv) {
  write("# route_trace v1\n# model=x n_layer=2 n_expert=8 n_expert_used=2\nturn,phase,step,layer,slot,expert,weight\n"
        "0,1,0,0,0,5,0.5\n0,1,0,0,1,6,0.5\n0,1,0,1,0,2,0.5\n0,1,0,1,1,3,0.5\n"
        "0,1,1,0,0,7,0.5\n0,1,1,0,1,0,0.5\n0,1,1,1,0,1,0.5\n0,1,1,1,1,4,0.5\n");
  Result result = run(path + " --write " + path + ".jsonl");
  std::string written = read(path + ".jsonl");
  unlink((path + ".jsonl").c_str());
  ASSERT_EQ(result.code, 0) << result.error;
  absl::StatusOr<Trace> given = readTrace(path), converted = parseTrace(written, path);
  ASSERT_TRUE(given.ok() && converted.ok()) << written;
  EXPECT_EQ(converted->experts, given->experts);
  EXPECT_EQ(converted->count(), 2u);
  result = run(path + " --write /nowhere/x.jsonl");
  EXPECT_EQ(result.code, 4);
  EXPECT_EQ(result.error, "emoe-replay: error: /nowhere/x.jsonl: No such file or directory\n");
}

TEST_F(EmoeReplay, PrintsJson) {
  Result result = run(path + " --slots 3,8,16 --json");
  ASSERT_EQ(result.code, 0) << result.error;
  llvm::Expected<llvm::json::Value> value = llvm::json::parse(result.out);
  ASSERT_TRUE(static_cast<bool>(value));
  const llvm::json::Object &object = *value->getAsObject();
  EXPECT_EQ(object.getInteger("tokens"), 100);
  EXPECT_EQ(object.getInteger("cycle"), 4);
  const llvm::json::Array &rows = *object.getArray("rows");
  ASSERT_EQ(rows.size(), 3u);
  int64_t slots[] = {3, 8, 16};
  for (size_t i = 0; i < 3; ++i) {
    const llvm::json::Object &row = *rows[i].getAsObject();
    EXPECT_EQ(row.getInteger("slots"), slots[i]);
    EXPECT_FALSE(row.getString("policy")->empty());
    for (const char *name : {"lru", "lfu", "planned", "belady"}) {
      EXPECT_GE(*row.getNumber(name), 0);
      EXPECT_LE(*row.getNumber(name), *row.getNumber("belady"));
      EXPECT_LE(*row.getNumber(name), 1);
    }
  }
  // With room for all, each is read once: 16 of 400 uses.
  EXPECT_NEAR(*rows[2].getAsObject()->getNumber("planned"), 1 - 16 / 400.0, 1e-9);
}

TEST_F(EmoeReplay, CalibratesOnAShare) {
  Result result = run(path + " --slots=8 --calibrate 0.25 --json");
  EXPECT_NE(result.out.find("\"tokens\": 150"), std::string::npos) << result.out << result.error;
  EXPECT_EQ(run(path + " --slots 8 --json").out, run("--json --slots 8 " + path).out) << "twice the same";
  EXPECT_NE(run(path + " --slots 8").out.find("100 tokens replayed after planning on 100; a token uses 4 of 16 records"),
            std::string::npos);
}

TEST_F(EmoeReplay, NamesWhatIsWrong) {
  struct {
    std::string arguments, error;
    int code;
  } cases[] = {
      {"", "no TRACE given; emoe-replay --help", 2},
      {path, "no --slots given, as --slots 64,128,256", 2},
      {path + " --slots 3,x", "--slots 3,x: \"x\" is no number of slots from 1 to 4194304", 2},
      {path + " --slots 0", "--slots 0: \"0\" is no number of slots from 1 to 4194304", 2},
      {path + " --slots", "--slots needs a value", 2},
      {path + " --slots 4 --calibrate 1", "--calibrate 1: a fraction between 0 and 1 is needed, as 0.5", 2},
      {path + " --slots 4 --calibrate nan", "--calibrate nan: a fraction between 0 and 1 is needed, as 0.5", 2},
      {path + " --fast", "--fast: there is no such flag; emoe-replay --help lists them", 2},
      {path + " " + path + " --slots 3", path + ": one trace at a time", 2},
      {path + " --slots 4 --calibrate 0.01",
       path + ": 200 tokens are too few to plan on a part of them (2) and to replay the rest", 3},
      {"/nowhere/trace --slots 4", "/nowhere/trace: cannot read the trace: No such file or directory", 4},
  };
  for (const auto &c : cases) {
    Result result = run(c.arguments);
    EXPECT_EQ(result.code, c.code) << c.arguments;
    EXPECT_EQ(result.error, "emoe-replay: error: " + c.error + "\n");
    EXPECT_EQ(result.out, "");
  }
  write("{\"tok\": 1}\n");
  Result result = run(path + " --slots 4");
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(result.error, "emoe-replay: error: " + path +
                              ":1: no \"layers\": each line must be {\"tok\": N, \"layers\": [[experts], ...]}\n");
}

} // namespace
} // namespace emoe
