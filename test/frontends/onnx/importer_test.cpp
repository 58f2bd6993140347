// What the importer makes of nodes: newest forms, functions, subgraphs, names; and what it says when it cannot.
#include "support.h"

namespace emoe::onnx::test {
namespace {

// x [n, 4] -> op(x) -> y, the node to be completed.
struct OneNode {
  ::onnx::ModelProto model;
  ::onnx::NodeProto *node;
  explicit OneNode(const std::string &op, int64_t opset = 20, const std::string &domain = "", int type = 1)
      : model(newModel(opset)) {
    addInput(model.mutable_graph(), "x", {-1, 4}, type);
    node = addNode(model.mutable_graph(), op, {"x"}, {"y"}, domain);
    addOutput(model.mutable_graph(), "y");
  }
};

void expectImport(const ::onnx::ModelProto &model, const std::vector<std::string> &parts) {
  auto imported = import(model);
  ASSERT_TRUE(imported->ok()) << imported->message();
  EXPECT_TRUE(mlir::succeeded(mlir::verify(**imported->module)));
  for (const std::string &part : parts) {
    EXPECT_TRUE(imported->prints(part)) << "no \"" << part << "\" in\n" << imported->text();
  }
}

void expectError(const ::onnx::ModelProto &model, absl::StatusCode code, const std::vector<std::string> &parts) {
  auto imported = import(model);
  EXPECT_EQ(imported->code(), code) << imported->text();
  for (const std::string &part : parts) {
    EXPECT_TRUE(imported->says(part)) << "no \"" << part << "\" in\n" << imported->message();
  }
}

TEST(OnnxImport, ArgumentsKeepNamesAndDimensions) {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  addInput(graph, "input_ids", {1, -1}, 7);
  auto *shape = graph->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  shape->mutable_dim(0)->clear_dim_value();
  shape->mutable_dim(0)->set_dim_param("2"); // a number as a name is an extent
  shape->add_dim();                          // neither value nor name
  shape->add_dim()->set_dim_value(-1);
  addNode(graph, "Identity", {"input_ids"}, {"y"});
  setTensor(graph->add_output(), "y", 7, {2, -1, -1, -1});
  model.set_producer_name("pytorch");
  model.set_producer_version("9");
  expectImport(model, {"func.func @main(%arg0: tensor<2x?x?x?xi64> {onnx.dims = [\"2\", \"n\", \"?\", \"?\"], "
                       "onnx.name = \"input_ids\"})",
                       "-> (tensor<2x?x?x?xi64> {onnx.dims", "onnx.name = \"y\"",
                       "onnx.opset = 20 : i64, onnx.producer = \"pytorch 9\""});
}

TEST(OnnxImport, NodesBecomeLocations) {
  OneNode one("Abs");
  addNode(one.model.mutable_graph(), "Neg", {"y"}, {"z"})->clear_name();
  auto imported = import(one.model);
  ASSERT_TRUE(imported->ok()) << imported->message();
  EXPECT_NE(imported->locations().find("loc(\"the_Abs\")"), std::string::npos);
  EXPECT_NE(imported->locations().find("loc(\"Neg_1\")"), std::string::npos);
}

TEST(OnnxImport, AttributesOfOldOpsetsBecomeInputs) {
  OneNode reduce("ReduceMean", 13);
  addInts(reduce.node, "axes", {-1});
  addInt(reduce.node, "keepdims", 0);
  expectImport(reduce.model, {"onnx.constant dense<-1> : tensor<1xi64>",
                              "onnx.ReduceMean %arg0, %0 {keepdims = 0 : i64} : (tensor<?x4xf32>, tensor<1xi64>)"});
  OneNode squeeze("Squeeze", 13);
  addInts(squeeze.node, "axes", {0, 2});
  expectImport(squeeze.model, {"dense<[0, 2]> : tensor<2xi64>", "onnx.Squeeze %arg0, %0"});
  OneNode topk("TopK", 13);
  topk.node->add_output("i");
  addInt(topk.node, "k", 2); // lower case: not the input's name
  expectError(topk.model, absl::StatusCode::kUnimplemented, {"has an attribute \"k\""});
  OneNode both("ReduceMean", 18);
  addInitializer(both.model.mutable_graph(), "a", 7, {1})->add_int64_data(0);
  both.node->add_input("a");
  addInts(both.node, "axes", {0});
  expectError(both.model, absl::StatusCode::kInvalidArgument, {"both as an input and as an attribute"});
}

TEST(OnnxImport, SplitAlwaysSaysHowManyParts) {
  OneNode split("Split", 13);
  split.node->add_output("z");
  addInt(split.node, "axis", 1);
  expectImport(split.model, {"onnx.Split %arg0 {axis = 1 : i64, num_outputs = 2 : i64}"});
  OneNode wrong("Split", 18);
  addInt(wrong.node, "num_outputs", 3);
  expectError(wrong.model, absl::StatusCode::kInvalidArgument, {"num_outputs (3) differs", "the_Split"});
}

TEST(OnnxImport, DropoutIsItsInput) {
  OneNode plain("Dropout");
  expectImport(plain.model, {"return %arg0"});
  OneNode training("Dropout");
  training.node->add_input("");
  training.node->add_input("t");
  addInitializer(training.model.mutable_graph(), "t", 9, {})->add_int32_data(1);
  expectError(training.model, absl::StatusCode::kUnimplemented, {"training mode"});
  training.model.mutable_graph()->mutable_initializer(0)->set_int32_data(0, 0);
  expectImport(training.model, {"return %arg0"});
  OneNode mask("Dropout");
  mask.node->add_output("mask");
  expectError(mask.model, absl::StatusCode::kUnimplemented, {"gives its mask"});
}

TEST(OnnxImport, ElementTypesAreInferred) {
  struct Case {
    const char *op, *printed;
    void (*fill)(::onnx::NodeProto *);
  };
  const Case cases[] = {
      {"Shape", "-> tensor<*xi64>", [](auto *) {}},
      {"IsNaN", "-> tensor<*xi1>", [](auto *) {}},
      {"Cast", "{to = f16} : (tensor<?x4xf32>) -> tensor<*xf16>", [](auto *n) { addInt(n, "to", 10); }},
      {"ArgMax", "-> tensor<*xi64>", [](auto *) {}},
      {"Where", "-> tensor<*xf32>", [](auto *n) { n->add_input("x"), n->add_input("x"); }},
      {"DynamicQuantizeLinear", "-> (tensor<*xui8>, tensor<*xf32>, tensor<*xui8>)", [](auto *) {}},
      {"LayerNormalization", "-> (tensor<*xf32>, tensor<*xf32>, tensor<*xf32>)", [](auto *n) { n->add_input("x"); }},
      {"QuantizeLinear", "-> tensor<*xui8>", [](auto *n) { n->add_input("x"); }},
      {"QuantizeLinear", "-> tensor<*xi8>", [](auto *n) { n->add_input("x"), addInt(n, "output_dtype", 3); }},
      {"ConstantOfShape", "-> tensor<*xf32>", [](auto *) {}},
      {"Neg", "-> tensor<*xf32>", [](auto *) {}},
  };
  for (const Case &item : cases) {
    SCOPED_TRACE(item.op);
    OneNode one(item.op);
    item.fill(one.node);
    expectImport(one.model, {item.printed});
  }
}

TEST(OnnxImport, ValueInfosGiveShapesAndMustAgree) {
  OneNode one("Abs");
  addNode(one.model.mutable_graph(), "Neg", {"y"}, {"z"});
  setTensor(one.model.mutable_graph()->add_value_info(), "z", 1, {3, -1});
  expectImport(one.model, {"onnx.Neg %0 : (tensor<*xf32>) -> tensor<3x?xf32>"});
  one.model.mutable_graph()->mutable_value_info(0)->mutable_type()->mutable_tensor_type()->set_elem_type(7);
  expectError(one.model, absl::StatusCode::kInvalidArgument, {"makes \"z\" with elements f32", "they are i64"});
}

TEST(OnnxImport, AbsentInputsInTheMiddle) {
  OneNode clip("Clip");
  clip.node->add_input("");
  clip.node->add_input("max");
  addInitializer(clip.model.mutable_graph(), "max", 1, {})->add_float_data(2);
  expectImport(clip.model, {"onnx.Clip %arg0, %0 {operandSegmentSizes = array<i32: 1, 0, 1>}"});
  OneNode missing("Gather");
  expectError(missing.model, absl::StatusCode::kInvalidArgument, {"the_Gather", "no input \"indices\""});
  OneNode many("Neg");
  many.node->add_input("x");
  expectError(many.model, absl::StatusCode::kUnimplemented, {"an input number 2"});
}

TEST(OnnxImport, EveryFormOfConstant) {
  struct Case {
    const char *printed;
    void (*fill)(::onnx::NodeProto *);
  };
  using A = ::onnx::AttributeProto;
  const Case cases[] = {
      {"dense<7> : tensor<i64>", [](auto *n) { addInt(n, "value_int", 7); }},
      {"dense<[7, 8]> : tensor<2xi64>", [](auto *n) { addInts(n, "value_ints", {7, 8}); }},
      {"dense<> : tensor<0xi64>", [](auto *n) { addInts(n, "value_ints", {}); }},
      {"dense<1.500000e+00> : tensor<f32>", [](auto *n) { addAttribute(n, "value_float", A::FLOAT)->set_f(1.5f); }},
      {"dense<[1.500000e+00, 2.000000e+00]> : tensor<2xf32>",
       [](auto *n) {
         auto *a = addAttribute(n, "value_floats", A::FLOATS);
         a->add_floats(1.5f), a->add_floats(2);
       }},
      {"onnx.initializer @c : tensor<2xf32>",
       [](auto *n) {
         auto *t = addAttribute(n, "value", A::TENSOR)->mutable_t();
         t->set_data_type(1), t->add_dims(2), t->add_float_data(1), t->add_float_data(2);
       }},
  };
  for (const Case &item : cases) {
    SCOPED_TRACE(item.printed);
    ::onnx::ModelProto model = newModel();
    item.fill(addNode(model.mutable_graph(), "Constant", {}, {"c"}));
    addOutput(model.mutable_graph(), "c");
    expectImport(model, {item.printed});
  }
  ::onnx::ModelProto model = newModel();
  addString(addNode(model.mutable_graph(), "Constant", {}, {"c"}), "value_string", "s");
  addOutput(model.mutable_graph(), "c");
  expectError(model, absl::StatusCode::kUnimplemented, {"value_string"});
}

TEST(OnnxImport, AllUnknownOperatorsAreListed) {
  OneNode one("Frobnicate");
  auto *graph = one.model.mutable_graph();
  for (int i = 0; i < 4; ++i) {
    addNode(graph, "Frobnicate", {"y"}, {"f" + std::to_string(i)})->set_name("f" + std::to_string(i));
  }
  addNode(graph, "Thing", {"y"}, {"t"}, "com.example");
  expectError(one.model, absl::StatusCode::kUnimplemented,
              {"2 operators are not supported", "Frobnicate (nodes \"the_Frobnicate\", \"f0\", \"f1\" and 2 more)",
               "com.example.Thing (node \"the_Thing\")", "dialects/onnx"});
}

TEST(OnnxImport, DomainsHaveTwoSpellingsAndContribOpsTheirs) {
  OneNode spelled("Abs", 20, "ai.onnx");
  expectImport(spelled.model, {"onnx.Abs %arg0"});
  OneNode gelu("QuickGelu", 20, "com.microsoft");
  expectImport(gelu.model, {"onnx.com.microsoft.QuickGelu %arg0 :"});
}

::onnx::FunctionProto *addFunction(::onnx::ModelProto &model, const std::string &name, const std::string &domain) {
  auto *function = model.add_functions();
  function->set_name(name);
  function->set_domain(domain);
  function->add_input("a");
  function->add_output("b");
  function->add_opset_import()->set_version(18);
  return function;
}
::onnx::NodeProto *addBody(::onnx::FunctionProto *function, const std::string &op, const std::string &input,
                           const std::string &output) {
  auto *node = function->add_node();
  node->set_op_type(op);
  node->set_name("inner");
  node->add_input(input);
  node->add_output(output);
  return node;
}

TEST(OnnxImport, FunctionsAreInlined) {
  OneNode one("Half", 20, "pkg.example");
  addInt(one.node, "to_type", 10);
  auto *function = addFunction(one.model, "Half", "pkg.example");
  function->add_attribute("to_type");
  addBody(function, "Abs", "a", "t");
  auto *attribute = addAttribute(addBody(function, "Cast", "t", "b"), "to", ::onnx::AttributeProto::INT);
  attribute->set_ref_attr_name("to_type");
  expectImport(one.model, {"onnx.Abs %arg0", "{to = f16}", "-> tensor<*xf16>"});
  EXPECT_NE(import(one.model)->locations().find("loc(\"the_Half/inner\")"), std::string::npos);
  // An op of com.microsoft that we know is kept, whatever body comes with it.
  OneNode known("QuickGelu", 20, "com.microsoft");
  addBody(addFunction(known.model, "QuickGelu", "com.microsoft"), "Abs", "a", "b");
  expectImport(known.model, {"onnx.com.microsoft.QuickGelu"});
}

TEST(OnnxImport, FunctionsThatGoWrong) {
  OneNode loop("F", 20, "pkg");
  addBody(addFunction(loop.model, "F", "pkg"), "F", "a", "b")->set_domain("pkg");
  expectError(loop.model, absl::StatusCode::kInvalidArgument, {"deeper than 32"});
  OneNode twice("F", 20, "pkg");
  addBody(addFunction(twice.model, "F", "pkg"), "Abs", "a", "b");
  addBody(addFunction(twice.model, "F", "pkg"), "Abs", "a", "b");
  expectError(twice.model, absl::StatusCode::kInvalidArgument, {"function pkg.F is defined twice"});
  OneNode unknown("F", 20, "pkg");
  addBody(addFunction(unknown.model, "F", "pkg"), "Nope", "a", "b");
  expectError(unknown.model, absl::StatusCode::kUnimplemented, {"Nope (node \"inner\")"});
  OneNode old("F", 20, "pkg");
  auto *function = addFunction(old.model, "F", "pkg");
  addBody(function, "Abs", "a", "b");
  function->mutable_opset_import(0)->set_version(9);
  expectError(old.model, absl::StatusCode::kUnimplemented, {"opset 9"});
  // Each level calls the next twice: 2^30 nodes, refused by their number.
  OneNode bomb("F0", 20, "pkg");
  for (int i = 0; i < 30; ++i) {
    auto *level = addFunction(bomb.model, "F" + std::to_string(i), "pkg");
    addBody(level, "F" + std::to_string(i + 1), "a", "t")->set_domain("pkg");
    addBody(level, "F" + std::to_string(i + 1), "t", "b")->set_domain("pkg");
  }
  addBody(addFunction(bomb.model, "F30", "pkg"), "Identity", "a", "b");
  expectError(bomb.model, absl::StatusCode::kInvalidArgument, {"more than"});
}

TEST(OnnxImport, SubgraphsSeeTheGraphAroundThem) {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  addInput(graph, "c", {}, 9);
  addInput(graph, "x", {-1, 4});
  auto *node = addNode(graph, "If", {"c"}, {"y"});
  for (const char *label : {"then_branch", "else_branch"}) {
    auto *branch = addAttribute(node, label, ::onnx::AttributeProto::GRAPH)->mutable_g();
    auto *tensor = addInitializer(branch, "w", 1, {4}); // the same name in both
    for (int i = 0; i < 4; ++i) {
      tensor->add_float_data(static_cast<float>(i));
    }
    addNode(branch, "Mul", {"x", "w"}, {std::string(label) + "_out"});
    addOutput(branch, std::string(label) + "_out");
  }
  addOutput(graph, "y");
  expectImport(model, {"onnx.tensor @w :", "onnx.tensor @w_1 :", "onnx.If %arg0 {", "onnx.Mul %arg1, %",
                       "onnx.Yield %", "(tensor<i1>) -> tensor<*xf32>"});

  ::onnx::ModelProto loop = newModel();
  graph = loop.mutable_graph();
  addInput(graph, "x", {4});
  addInitializer(graph, "m", 7, {})->add_int64_data(3);
  node = addNode(graph, "Loop", {"m", "", "x"}, {"y", "all"});
  auto *body = addAttribute(node, "body", ::onnx::AttributeProto::GRAPH)->mutable_g();
  addInput(body, "i", {}, 7);
  addInput(body, "go", {}, 9);
  addInput(body, "carried", {4});
  addNode(body, "Add", {"carried", "x"}, {"next"});
  for (const char *output : {"go", "next", "i"}) {
    addOutput(body, output);
  }
  addOutput(graph, "y");
  addOutput(graph, "all");
  expectImport(loop, {"onnx.Loop %0, %arg0 {", "-> (tensor<*xf32>, tensor<*xi64>)"});
  body->clear_input();
  expectError(loop, absl::StatusCode::kInvalidArgument, {"gives its subgraph 3 inputs, which takes 0"});
}

TEST(OnnxImport, NodesAreOrderedCyclesRefused) {
  ::onnx::ModelProto model = newModel();
  auto *graph = model.mutable_graph();
  addInput(graph, "x", {4});
  addNode(graph, "Neg", {"t"}, {"y"}); // stands before the node that it needs
  addNode(graph, "Abs", {"x"}, {"t"});
  addOutput(graph, "y");
  expectImport(model, {"%0 = onnx.Abs %arg0", "%1 = onnx.Neg %0"});
  graph->mutable_node(1)->set_input(0, "y");
  expectError(model, absl::StatusCode::kInvalidArgument, {"the_Neg", "the graph has a cycle"});
  graph->mutable_node(1)->set_input(0, "nowhere");
  expectError(model, absl::StatusCode::kInvalidArgument, {"the_Abs", "\"nowhere\", which nothing makes"});
  graph->mutable_node(1)->set_input(0, "x");
  graph->mutable_node(1)->set_output(0, "y");
  graph->mutable_node(0)->set_input(0, "x");
  expectError(model, absl::StatusCode::kInvalidArgument, {"\"y\", which exists already"});
}

TEST(OnnxImport, InitialisedInputsAreConstants) {
  ::onnx::ModelProto model = newModel(13, 3); // IR 3 lists initialisers as inputs too
  auto *graph = model.mutable_graph();
  addInput(graph, "x", {4});
  addInput(graph, "w", {4});
  addInitializer(graph, "w", 1, {4})->set_raw_data(std::string(16, 'x'));
  addNode(graph, "Mul", {"x", "w"}, {"y"});
  addOutput(graph, "y");
  expectImport(model, {"@main(%arg0: tensor<4xf32> {onnx.dims = [\"4\"], onnx.name = \"x\"}) ->"});
}

TEST(OnnxImport, VersionsAreChecked) {
  for (int64_t ir : {2, 14}) {
    OneNode one("Abs");
    one.model.set_ir_version(ir);
    expectError(one.model, absl::StatusCode::kUnimplemented, {"IR version " + std::to_string(ir), "3 to 13"});
  }
  for (int64_t opset : {12, 28}) {
    OneNode one("Abs", opset);
    expectError(one.model, absl::StatusCode::kUnimplemented, {"opset " + std::to_string(opset), "13 to 27"});
  }
}

TEST(OnnxImport, FilesThatAreNoModel) {
  TempFolder folder;
  auto code = [&](const std::string &bytes, const char *says) {
    Imported imported(folder.write("m.onnx", bytes));
    EXPECT_TRUE(imported.says(says)) << imported.message();
    return imported.code();
  };
  using absl::StatusCode;
  EXPECT_EQ(code("", "the file is empty"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code("hello, this is text", "not an ONNX model"), StatusCode::kInvalidArgument);
  EXPECT_EQ(code("version https://git-lfs.github.com/spec/v1\noid", "Git LFS"), StatusCode::kInvalidArgument);
  EXPECT_EQ(Imported(folder / "none.onnx").code(), StatusCode::kNotFound);
  EXPECT_EQ(Imported(folder / "").code(), StatusCode::kInvalidArgument); // a folder
  OneNode sparse("Abs");
  sparse.model.mutable_graph()->add_sparse_initializer()->add_dims(1);
  expectError(sparse.model, StatusCode::kUnimplemented, {"sparse initialisers"});
  OneNode name("Abs");
  name.node->set_name(std::string(70000, 'n'));
  expectError(name.model, StatusCode::kInvalidArgument, {"70000 bytes, more than 65536"});
  OneNode deep("Abs");
  ::onnx::GraphProto graph;
  for (int i = 0; i < 20; ++i) {
    ::onnx::GraphProto outer;
    *addAttribute(addNode(&outer, "If", {"x"}, {}), "then_branch", ::onnx::AttributeProto::GRAPH)->mutable_g() = graph;
    graph = outer;
  }
  *addAttribute(deep.node, "body", ::onnx::AttributeProto::GRAPH)->mutable_g() = graph;
  expectError(deep.model, StatusCode::kInvalidArgument, {"nested deeper than 16"});
}

TEST(OnnxImport, WrongAttributesAreNamed) {
  OneNode kind("Concat");
  addString(kind.node, "axis", "one");
  expectError(kind.model, absl::StatusCode::kInvalidArgument, {"the_Concat", "axis"});
  OneNode missing("Concat");
  expectError(missing.model, absl::StatusCode::kInvalidArgument, {"the_Concat", "axis"});
  OneNode cast("Cast");
  addInt(cast.node, "to", 14);
  expectError(cast.model, absl::StatusCode::kUnimplemented, {"complex64"});
  OneNode twice("Softmax");
  addInt(twice.node, "axis", 0);
  addInt(twice.node, "axis", 1);
  expectError(twice.model, absl::StatusCode::kInvalidArgument, {"attribute \"axis\" twice"});
}

} // namespace
} // namespace emoe::onnx::test
