// emoe-dump: a bundle's index as text or JSON, as the runtime reads it. For people and for tests.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include "runtime/bundle/bundle.h"
#include "runtime/experts/predict.h"
#include "runtime/io/file.h"
#include "schema/kernel_abi.h"

using namespace emoe::rt;
using llvm::StringRef;

namespace {

constexpr const char *kHelp = R"(usage: emoe-dump [--json] [--records] BUNDLE

Prints the index of a bundle: facts, sections, tensors, buffers, kernels, the program, experts, kernel images.
  --json     as JSON
  --records  also each expert's record with its checksums
Exit codes: 0 ok, 2 usage, 3 bad bundle, 4 I/O, 6 made for another version.
)";

StringRef str(const Text &text) { return {text.data, text.size}; }

std::string layoutText(const Layout &layout) {
  const char *types[] = {"f32", "f16", "bf16"};
  std::string text;
  if (layout.bits < 16) {
    const char *kinds[] = {"q", "ternary", "q", "c"};  // by codebook: integer, ternary, mxfp4, centred
    text = kinds[layout.codebook] + (layout.codebook == 1 ? "" : std::to_string(layout.bits)) + "g" +
           std::to_string(layout.group);
  }
  text += types[layout.float_type];
  return layout.panel == 1 ? text + " row-major" : text + " panels of " + std::to_string(layout.panel);
}

std::string operandText(const Bundle &bundle, const Operand &operand) {
  std::string number = std::to_string(operand.index);
  switch (operand.kind) {
  case OperandKind::kNone: return "none";
  case OperandKind::kTokenIds: return "token_ids";
  case OperandKind::kBuffer: return "buf" + number;
  case OperandKind::kTensor: return "w:" + str(bundle.tensors[operand.index].name).str();
  case OperandKind::kKvKeys: return "keys" + number;
  case OperandKind::kKvValues: return "values" + number;
  case OperandKind::kState: return "state" + number;
  }
  return "?";
}

const char *rowsText(Rows rows) { return rows == Rows::kWanted ? "wanted" : rows == Rows::kSource ? "source" : "all"; }

struct NamedSection {
  const char *name;
  const Section *section;
};
std::vector<NamedSection> sectionsOf(const Bundle &b) {
  std::vector<NamedSection> sections;
  for (NamedSection s : {NamedSection{"index", &b.index}, {"resident", &b.resident}, {"experts", &b.experts},
                         {"kernels", &b.kernels}, {"tokenizer", &b.tokenizer}, {"tables", &b.tables}}) {
    if (s.section->present) {
      sections.push_back(s);
    }
  }
  return sections;
}

class TextDump {
public:
  TextDump(const Bundle &bundle, llvm::raw_ostream &out) : b(bundle), out(out) {}

  void print(bool records) {
    for (auto [name, section] : sectionsOf(b)) {
      out << "section " << name << ": offset " << section->offset << ", " << section->length << " bytes, crc "
          << llvm::format_hex(section->crc, 10) << "\n";
    }
    if (!b.has_model) {
      out << "no model: a tokenizer alone\n";
      return;
    }
    printFacts();
    printMemory();
    printProgram();
    printExperts(records);
    printPredictors();
    for (size_t i = 0; i < b.images.size; ++i) {
      const Image &image = b.images[i];
      out << "image " << i << ": " << str(image.isa) << ", machine " << image.machine << ", features "
          << llvm::format_hex(image.features, 4) << ", offset " << image.offset << ", " << image.bytes << " bytes\n";
    }
  }

private:
  void printFacts() {
    const auto &m = b.model;
    out << "model: " << str(m.architecture) << ", " << m.parameters << " parameters, vocab " << m.vocab << ", hidden "
        << m.hidden << ", layers " << m.layers << ", context " << m.context << "\n";
    out << "tokens: first " << m.first_token << ", stop [";
    for (size_t i = 0; i < m.stop_tokens.size; ++i) {
      out << (i ? ", " : "") << m.stop_tokens[i];
    }
    out << "]\nplan: context " << b.plan.context << ", chunk " << b.plan.chunk << ", policy " << str(b.plan.policy)
        << "\n";
    const auto &p = b.provenance;
    out << "made by: " << str(p.producer) << "\nfrom: " << str(p.source) << " " << str(p.source_hash)
        << "\noptions: " << str(p.options) << "\n";
    const auto &c = b.calibration;
    if (c.fit_tokens != 0) {
      out << "calibrated on: " << str(c.texts) << " (" << str(c.hash) << "), " << c.fit_tokens << " tokens; "
          << c.held_out_tokens << " held out, of loss " << llvm::format("%.6f", c.held_out_loss) << "\n";
    }
  }

  void printMemory() {
    for (size_t i = 0; i < b.tensors.size; ++i) {
      const Tensor &t = b.tensors[i];
      out << "tensor " << i << ": " << str(t.name) << " [" << t.rows << ", " << t.columns << "] "
          << layoutText(t.layout) << ", offset " << t.offset << ", " << t.bytes << " bytes" << (t.paged ? ", paged" : "") << "\n";
    }
    for (size_t i = 0; i < b.buffers.size; ++i) {
      const Buffer &buffer = b.buffers[i];
      out << "buf" << i << ": fixed " << buffer.fixed << ", per token " << buffer.per_token << ", slot " << buffer.slot
          << ", rows " << rowsText(buffer.rows) << "\n";
    }
    for (size_t i = 0; i < b.kv_layers.size; ++i) {
      out << "attention " << i << ": kv_heads " << b.kv_layers[i].kv_heads << ", head_dim " << b.kv_layers[i].head_dim
          << ", " << b.kv_bits << " bits\n";
    }
    for (size_t i = 0; i < b.states.size; ++i) {
      out << "state " << i << ": " << b.states[i] << " bytes\n";
    }
  }

  void printProgram() {
    for (size_t i = 0; i < b.kernel_table.size; ++i) {
      const Kernel &kernel = b.kernel_table[i];
      out << "kernel " << i << ": " << str(kernel.name) << ", tiles " << kernel.tiles_fixed << " + "
          << kernel.tiles_per_token << " per token, extents";
      for (const Extent &e : kernel.extents) {
        out << " [" << e.fixed << ", " << e.per_token << ", " << e.per_position << "]";
      }
      out << "\n";
    }
    for (size_t i = 0; i < b.steps.size; ++i) {
      const Step &step = b.steps[i];
      out << "step " << i << ": ";
      if (step.kind == StepKind::kExperts) {
        out << "experts of layer " << step.layer;
      } else if (step.kind == StepKind::kLookAhead) {
        out << "look ahead to layer " << step.layer << ": " << str(b.kernel_table[step.kernel].name) << ", "
            << str(b.kernel_table[step.router].name);
      } else {
        out << str(b.kernel_table[step.kernel].name);
      }
      for (size_t j = 0; j < step.operands.size; ++j) {
        out << (j ? ", " : " ") << operandText(b, step.operands[j]);
      }
      out << (step.rows == Rows::kAll ? "\n" : step.rows == Rows::kWanted ? " on wanted rows\n" : " on the source\n");
    }
    out << "logits: buf" << b.logits << "\n";
  }

  void printPredictors() {
    for (size_t l = 0; l < b.predictors.size; ++l) {
      const PredictorEntry &entry = b.predictors[l];
      out << "predictor of layer " << l << ": " << PredictorName(entry.predictor) << ", scale "
          << llvm::format("%.4f", entry.scale) << ", parts " << entry.parts << ", keys " << entry.keys
          << ", break even " << llvm::format("%.3f", entry.break_even) << "\n";
      for (const PredictorQuality &q : entry.quality) {
        out << "  " << PredictorName(q.predictor) << ": recall "
            << llvm::format("%.3f (%.3f to %.3f), at 2k %.3f, precision at 2k %.3f", q.recall, q.recall_low,
                            q.recall_high, q.recall_2k, q.precision_2k)
            << ", " << q.tokens << " tokens\n";
      }
    }
  }

  void printExperts(bool records) {
    for (size_t l = 0; l < b.moe_layers.size; ++l) {
      const MoeLayer &layer = b.moe_layers[l];
      out << "experts of layer " << l << ": " << layer.experts << ", top_k " << layer.top_k;
      if (layer.capacity != 0) {
        out << ", each takes " << layer.capacity << " tokens" << (layer.ranked ? ", second choices after first ones" : "");
      }
      out << (layer.source ? ", of the encoder\n" : "\n");
      for (size_t v = 0; v < layer.variants.size; ++v) {
        const Variant &variant = layer.variants[v];
        out << "  variant " << v << ": " << layoutText(variant.layout) << ", down "
            << layoutText(variant.down_layout) << ", activations "
            << (variant.activations == Activations::kQ8 ? "q8" : "f32") << ", "
            << str(b.kernel_table[variant.gate_up_kernel].name) << " at " << variant.gate_up_offset << ", "
            << str(b.kernel_table[variant.down_kernel].name) << " at " << variant.down_offset << ", "
            << variant.record_bytes << " bytes in " << variant.chunk_ends.size << " chunks\n";
      }
      for (size_t e = 0; records && e < layer.records.size; ++e) {
        const Record &record = layer.records[e];
        out << "  record " << e << ": variant " << record.variant << ", offset " << record.offset << ", crcs";
        for (size_t c = 0; c < layer.variants[record.variant].chunk_ends.size; ++c) {
          out << " " << llvm::format_hex(b.chunk_crcs[record.first_crc + c], 10);
        }
        out << "\n";
      }
    }
  }

  const Bundle &b;
  llvm::raw_ostream &out;
};

class JsonDump {
public:
  JsonDump(const Bundle &bundle, llvm::raw_ostream &out) : b(bundle), j(out, 1) {}

  void print(bool records) {
    j.object([&] {
      j.attributeObject("sections", [&] {
        for (auto [name, section] : sectionsOf(b)) {
          j.attributeObject(name, [&, s = section] {
            number("offset", s->offset);
            number("bytes", s->length);
            number("crc", s->crc);
          });
        }
      });
      if (b.has_model) {
        printFacts();
        printMemory();
        printProgram();
        printExperts(records);
      }
    });
  }

private:
  void number(StringRef name, uint64_t value) { j.attribute(name, value); }
  void text(StringRef name, const Text &value) { j.attribute(name, str(value)); }
  template <typename T, typename F>
  void list(StringRef name, const Span<T> &items, F print) {
    j.attributeArray(name, [&] {
      for (const T &item : items) {
        j.object([&] { print(item); });
      }
    });
  }
  void layout(const Layout &l) { j.attribute("layout", layoutText(l)); }

  void printFacts() {
    j.attributeObject("model", [&] {
      text("architecture", b.model.architecture);
      number("parameters", b.model.parameters);
      number("vocab", b.model.vocab);
      number("hidden", b.model.hidden);
      number("layers", b.model.layers);
      number("context", b.model.context);
      number("positions", b.model.positions);
      j.attribute("first_token", b.model.first_token);
      j.attributeArray("stop_tokens", [&] {
        for (int32_t token : b.model.stop_tokens) {
          j.value(token);
        }
      });
    });
    j.attributeObject("plan", [&] {
      number("context", b.plan.context);
      number("chunk", b.plan.chunk);
      text("policy", b.plan.policy);
    });
    j.attributeObject("provenance", [&] {
      text("producer", b.provenance.producer);
      text("source", b.provenance.source);
      text("source_hash", b.provenance.source_hash);
      text("options", b.provenance.options);
    });
    if (b.calibration.fit_tokens != 0) {
      j.attributeObject("calibration", [&] {
        text("texts", b.calibration.texts);
        text("hash", b.calibration.hash);
        j.attribute("fit_tokens", b.calibration.fit_tokens);
        j.attribute("held_out_tokens", b.calibration.held_out_tokens);
        j.attribute("held_out_loss", b.calibration.held_out_loss);
      });
    }
  }

  void printMemory() {
    list("tensors", b.tensors, [&](const Tensor &t) {
      text("name", t.name);
      number("rows", t.rows);
      number("columns", t.columns);
      layout(t.layout);
      number("offset", t.offset);
      number("bytes", t.bytes);
      j.attribute("paged", t.paged);
    });
    list("buffers", b.buffers, [&](const Buffer &buffer) {
      number("fixed", buffer.fixed);
      number("per_token", buffer.per_token);
      number("slot", buffer.slot);
      j.attribute("rows", rowsText(buffer.rows));
    });
    list("attention", b.kv_layers, [&](const KvLayer &layer) {
      number("kv_heads", layer.kv_heads);
      number("head_dim", layer.head_dim);
      number("kv_bits", b.kv_bits);
    });
    list("states", b.states, [&](uint64_t bytes) { number("bytes", bytes); });
  }

  void printProgram() {
    list("kernels", b.kernel_table, [&](const Kernel &kernel) {
      text("name", kernel.name);
      number("tiles_fixed", kernel.tiles_fixed);
      number("tiles_per_token", kernel.tiles_per_token);
      list("extents", kernel.extents, [&](const Extent &extent) {
        number("fixed", extent.fixed);
        number("per_token", extent.per_token);
        number("per_position", extent.per_position);
      });
    });
    list("steps", b.steps, [&](const Step &step) {
      if (step.kind == StepKind::kExperts) {
        number("experts", step.layer);
      } else if (step.kind == StepKind::kLookAhead) {
        number("look_ahead", step.layer);
        text("norm", b.kernel_table[step.kernel].name);
        text("router", b.kernel_table[step.router].name);
      } else {
        text("kernel", b.kernel_table[step.kernel].name);
      }
      j.attributeArray("operands", [&] {
        for (const Operand &operand : step.operands) {
          j.value(operandText(b, operand));
        }
      });
      j.attribute("rows", rowsText(step.rows));
    });
    number("logits", b.logits);
  }

  void printExperts(bool records) {
    list("experts", b.moe_layers, [&](const MoeLayer &layer) {
      number("experts", layer.experts);
      number("top_k", layer.top_k);
      number("capacity", layer.capacity);
      j.attribute("ranked", layer.ranked);
      j.attribute("source", layer.source);
      list("variants", layer.variants, [&](const Variant &variant) {
        layout(variant.layout);
        j.attribute("down_layout", layoutText(variant.down_layout));
        j.attribute("activations", variant.activations == Activations::kQ8 ? "q8" : "f32");
        text("gate_up_kernel", b.kernel_table[variant.gate_up_kernel].name);
        text("down_kernel", b.kernel_table[variant.down_kernel].name);
        number("gate_up_offset", variant.gate_up_offset);
        number("down_offset", variant.down_offset);
        number("record_bytes", variant.record_bytes);
        number("chunks", variant.chunk_ends.size);
      });
      if (records) {
        list("records", layer.records, [&](const Record &record) {
          number("variant", record.variant);
          number("offset", record.offset);
          j.attributeArray("crcs", [&] {
            for (size_t c = 0; c < layer.variants[record.variant].chunk_ends.size; ++c) {
              j.value(static_cast<int64_t>(b.chunk_crcs[record.first_crc + c]));
            }
          });
        });
      }
    });
    list("predictors", b.predictors, [&](const PredictorEntry &entry) {
      j.attribute("predictor", PredictorName(entry.predictor));
      j.attribute("scale", entry.scale);
      number("parts", entry.parts);
      number("keys", entry.keys);
      j.attribute("break_even", entry.break_even);
      list("quality", entry.quality, [&](const PredictorQuality &q) {
        j.attribute("predictor", PredictorName(q.predictor));
        number("tokens", q.tokens);
        j.attribute("recall", q.recall);
        j.attribute("recall_low", q.recall_low);
        j.attribute("recall_high", q.recall_high);
        j.attribute("recall_2k", q.recall_2k);
        j.attribute("precision_2k", q.precision_2k);
      });
    });
    list("images", b.images, [&](const Image &image) {
      text("isa", image.isa);
      number("machine", image.machine);
      number("features", image.features);
      number("offset", image.offset);
      number("bytes", image.bytes);
    });
  }

  const Bundle &b;
  llvm::json::OStream j;
};

int fail(const char *path, const Status &status) {
  llvm::errs() << "emoe-dump: " << path << ": " << status.what << " " << status.detail << ", " << status.detail2
               << "\n";
  return static_cast<int>(status.code);
}

} // namespace

int main(int argc, char **argv) {
  bool json = false, records = false, flags = true;
  const char *path = nullptr;
  for (int i = 1; i < argc; ++i) {
    StringRef arg = argv[i];
    if (flags && arg == "--") {
      flags = false;
    } else if (flags && arg == "--json") {
      json = true;
    } else if (flags && arg == "--records") {
      records = true;
    } else if (flags && (arg == "--help" || arg == "-h")) {
      llvm::outs() << kHelp;
      return 0;
    } else if ((flags && arg.starts_with("-")) || path) {
      llvm::errs() << "emoe-dump: " << (path ? "more than one bundle, or an unknown flag: " : "unknown flag ") << arg
                   << "\n" << kHelp;
      return static_cast<int>(StatusCode::kUsage);
    } else {
      path = argv[i];
    }
  }
  if (!path) {
    llvm::errs() << "emoe-dump: no bundle given\n" << kHelp;
    return static_cast<int>(StatusCode::kUsage);
  }
  FileProvider file;
  Bundle bundle;
  if (Status status = file.Open(path); !status.ok()) {
    llvm::errs() << "emoe-dump: " << path << ": " << status.what << ": " << std::strerror(status.detail2) << "\n";
    return static_cast<int>(status.code);
  }
  if (Status status = OpenBundle(file, &bundle); !status.ok()) {
    return fail(path, status);
  }
  std::string text;
  llvm::raw_string_ostream out(text);
  if (json) {
    JsonDump(bundle, out).print(records);
    out << "\n";
  } else {
    TextDump(bundle, out).print(records);
  }
  CloseBundle(&bundle);
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    llvm::errs() << "emoe-dump: cannot write the output: " << std::strerror(errno) << "\n";
    return static_cast<int>(StatusCode::kIo);
  }
  return 0;
}
