// Every rule of FORMAT.md's "validation" about the index, broken one at a time: which code, which text, which numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <tuple>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/memory_provider.h"
#include "runtime/bundle/predictors.h"
#include "schema/limits.h"
#include "test/support/small_model.h"

namespace emoe::rt {
namespace {

struct Case {
  const char *what;
  uint64_t detail, detail2;
  std::function<void(fb::BundleT &)> change;
};

// Steps of the small model: 0 embed, 1 norm, 2 append, 3 route, 4 quantize, 5 experts, 6 combine, 7 .. 10 the second
// layer, 11 logits. Kernels: 0 embed, 1 norm, 2 append, 3 quantize, 4 route, 5, 6 q4, 7, 8 q8, 9 combine, 10 logits.
using B = fb::BundleT;
using Op = fb::Operand;
using Kind = fb::OperandKind;

fb::VariantT &variant(B &b) { return *b.moe_layers[0]->variants[0]; }
void setLayout(B &b, size_t tensor, uint8_t bits, uint8_t type, uint8_t zero, uint8_t book, uint16_t group,
               uint16_t panel) {
  *b.tensors[tensor]->layout = fb::Layout(bits, static_cast<fb::FloatType>(type), static_cast<fb::ZeroPoint>(zero),
                                          static_cast<fb::Codebook>(book), group, panel);
}

constexpr const char *kNoLayout = "tensor: no layout of this format (tensor)";
constexpr const char *kVocab = "model: vocab is out of range (vocab)";
constexpr const char *kStop = "model: a stop token is not in the vocabulary (token, vocab)";
constexpr const char *kFirst = "model: first_token is not in the vocabulary (token, vocab)";
constexpr const char *kTooMuch = "step: its kernel touches more than the operand holds (step, operand)";
constexpr const char *kBufferTooSmall = "step: its kernel touches more than the buffer holds (step, operand)";
constexpr const char *kParts = "variant: its parts lie outside the record, out of order or not aligned (mixture layer)";
constexpr const char *kChunks = "variant: chunk_ends do not ascend by at most 262144 (mixture layer, end)";
constexpr const char *kRecordBytes = "variant: record_bytes is out of range or no multiple of 4096 (mixture layer, bytes)";
constexpr const char *kRecord = "record: does not follow the one before or leaves its section (mixture layer, expert)";
constexpr const char *kSourceRows =
    "step: runs on the source's rows of a buffer for a chunk's, or the reverse (step, operand)";
constexpr const char *kRanked = "mixture layer: ranks choices, but has no capacity or not two of them (mixture layer, top_k)";
constexpr const char *kWeightScale =
    "mixture layer: weight_floor or weight_scale is out of range, or has no capacity (mixture layer)";
constexpr const char *kExpertsCount = "step: experts take five operands, six with a capacity (step, operands)";
constexpr const char *kExpertsOperand = "step: an operand of experts is no buffer of all its rows (step, operand)";
constexpr const char *kOrder = "step: mixture layers do not run once each, in order (step, mixture layer)";
constexpr const char *kTiles = "kernel: its number of tiles is out of range (kernel)";
constexpr const char *kExtent = "kernel: an extent is larger than the format allows (kernel)";
constexpr const char *kCalibrationText = "calibration: a text is not plain UTF-8";
constexpr const char *kCalibrationTokens =
    "calibration: tokens without others to judge on, or the reverse (fitted, held out)";
constexpr const char *kCalibrationLoss = "calibration: the loss is not between 0 and a million";
constexpr const char *kText = "provenance: a text is not plain UTF-8";
constexpr const char *kName = "tensor: its name is not plain UTF-8 (tensor)";
constexpr const char *kIsa = "image: isa is empty or not plain UTF-8 (image)";
constexpr const char *kState = "recurrent state: its size is out of range or no multiple of 64 (state, bytes)";
constexpr const char *kWantedRows = "step: wanted rows of token ids, a cache or a state (step, operand)";
constexpr const char *kLogits =
    "program: the logits' buffer does not hold f32 rows of the vocabulary (buffer, bytes per row)";
constexpr const char *kExpertReads = "step: an expert kernel reads more than an input row (step, kernel)";
constexpr const char *kExpertWrites = "step: an expert kernel writes more than an output row (step, kernel)";
constexpr const char *kExpertWeights = "step: an expert kernel reads more than its part of the record (step, kernel)";

constexpr const char *kChoices =
    "plan: choices do not ascend by slots, or have more than there are records (choice, slots)";
constexpr const char *kPolicy = "plan: a choice of no policy of this format (choice)";
constexpr const char *kCurve =
    "plan: the hit curve does not ascend by slots, or has more than there are records (point, slots)";
constexpr const char *kRate = "plan: a hit rate is not between 0 and 1 (point)";
constexpr const char *kNoLayers = "next_use: a block has no such layers (block)";
constexpr const char *kPanelCrcs = "index: panel_crcs are not those of the paged tensors (checksums, expected)";
constexpr const char *kNotLookedUp = "step: a paged tensor is not looked up by token ids (step, operand)";
constexpr const char *kLookUpInto =
    "step: looks a paged tensor up into something else than rows of a buffer (step, operand)";
constexpr uint64_t kRecords = 6, kNextUseRows = 18;

fb::CacheChoice choice(uint32_t slots, int policy = 0, uint8_t per_layer = 0, uint8_t power = 2) {
  return fb::CacheChoice(slots, 0, 64, static_cast<fb::CachePolicy>(policy), power, 0, per_layer);
}
fb::NextUseT &nextUse(B &b) { return *b.plan->next_use; }

// The embedding comes last, and is paged.
void page(B &b) {
  std::rotate(b.tensors.begin(), b.tensors.begin() + 1, b.tensors.end());
  uint64_t end = 0;
  for (auto &tensor : b.tensors) {
    tensor->offset = (end + 63) / 64 * 64;
    end = tensor->offset + tensor->bytes;
  }
  b.tensors[3]->paged = true;
  b.panel_crcs.assign(1 + 7, 0);
  b.steps[0]->operands[1] = Op(Kind::Tensor, 3);
  b.steps[1]->operands[1] = Op(Kind::Tensor, 0);
  b.steps[11]->operands[1] = Op(Kind::Tensor, 1);
}

fb::WidthsT &widths(B &b) {
  b.widths = std::make_unique<fb::WidthsT>();
  return *b.widths;
}

const Case kCases[] = {
    // Model
    {"model: architecture is not plain UTF-8", 0, 0, [](B &b) { b.model->architecture = "a\nb"; }},
    {kVocab, 0, 0, [](B &b) { b.model->vocab = 0; }},
    {kVocab, EMOE_LIMIT_VOCAB + 1, 0, [](B &b) { b.model->vocab = EMOE_LIMIT_VOCAB + 1; }},
    {kVocab, UINT32_MAX, 0, [](B &b) { b.model->vocab = UINT32_MAX; }},
    {"model: hidden is out of range (hidden)", 0, 0, [](B &b) { b.model->hidden = 0; }},
    {"model: hidden is out of range (hidden)", UINT32_MAX, 0, [](B &b) { b.model->hidden = UINT32_MAX; }},
    {"model: layers is out of range (layers)", 0, 0, [](B &b) { b.model->layers = 0; }},
    {"model: layers is out of range (layers)", 1025, 0, [](B &b) { b.model->layers = 1025; }},
    {"model: context is out of range (context)", 0, 0, [](B &b) { b.model->context = 0; }},
    {"model: has fewer positions than its context (positions, context)", 511, 512, [](B &b) { b.model->positions = 511; }},
    {"model: context is out of range (context)", (1u << 20) + 1, 0, [](B &b) { b.model->context = (1u << 20) + 1; }},
    {kFirst, 100, 100, [](B &b) { b.model->first_token = 100; }},
    {kFirst, UINT32_MAX - 1, 100, [](B &b) { b.model->first_token = -2; }},
    {kStop, 100, 100, [](B &b) { b.model->stop_tokens[1] = 100; }},
    {kStop, UINT32_MAX, 100, [](B &b) { b.model->stop_tokens[0] = -1; }},
    // Widths
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).policy = "\x1b"; }},
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).rounding = "\xff"; }},
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).measure = "a\n"; }},
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).uniform_format = "\xff"; }},
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).rival_format = "\xff"; }},
    {"widths: a text is not plain UTF-8", 0, 0, [](B &b) { widths(b).notes = "\xff"; }},
    {"widths: a number is not finite", 0, 0, [](B &b) { widths(b).tolerance = INFINITY; }},
    {"widths: a number is not finite", 0, 0, [](B &b) { widths(b).verified = NAN; }},
    {"widths: a number is not finite", 0, 0, [](B &b) { widths(b).random_divergence = -INFINITY; }},
    {"widths: a number is not finite", 0, 0,
     [](B &b) { widths(b).amplification.assign(b.moe_layers.size(), NAN); }},
    {"widths: amplification is not there for each mixture layer (numbers, layers)", 99, 2,
     [](B &b) { widths(b).amplification.assign(99, 1); }},
    // Plan, provenance
    {"plan: context is not between 1 and the model's (context, model's)", 0, 512, [](B &b) { b.plan->context = 0; }},
    {"plan: context is not between 1 and the model's (context, model's)", 513, 512, [](B &b) { b.plan->context = 513; }},
    {"plan: context is not between 1 and the model's (context, model's)", 0, 512, [](B &b) { b.plan.reset(); }},
    {"plan: chunk is out of range (chunk)", 0, 0, [](B &b) { b.plan->chunk = 0; }},
    {"plan: chunk is out of range (chunk)", 65537, 0, [](B &b) { b.plan->chunk = 65537; }},
    {"plan: policy is not plain UTF-8", 0, 0, [](B &b) { b.plan->policy = "lru\x1b[2J"; }},
    {kChoices, 1, 4, [](B &b) { b.plan->choices = {choice(4), choice(4)}; }},
    {kChoices, 0, 9999, [](B &b) { b.plan->choices = {choice(9999)}; }},
    {kPolicy, 0, 0, [](B &b) { b.plan->choices = {choice(1, 5)}; }},
    {kPolicy, 1, 0, [](B &b) { b.plan->choices = {choice(1), choice(2, 0, 2)}; }},
    {kPolicy, 0, 0, [](B &b) { b.plan->choices = {choice(1, 0, 0, 9)}; }},
    {"plan: a choice pins more records than there are (choice)", 0, 9999,
     [](B &b) { b.plan->choices = {fb::CacheChoice(1, 9999, 64, fb::CachePolicy::Lfu, 2, 0, 0)}; }},
    {kCurve, 1, 2, [](B &b) { b.plan->hit_curve = {fb::HitPoint(2, 0, 0, 0, 0), fb::HitPoint(2, 0, 0, 0, 0)}; }},
    {kCurve, 0, 9999, [](B &b) { b.plan->hit_curve = {fb::HitPoint(9999, 0, 0, 0, 0)}; }},
    {kRate, 0, 0, [](B &b) { b.plan->hit_curve = {fb::HitPoint(1, 1.5f, 0, 0, 0)}; }},
    {kRate, 0, 0, [](B &b) { b.plan->hit_curve = {fb::HitPoint(1, 0, -0.1f, 0, 0)}; }},
    {kRate, 0, 0, [](B &b) { b.plan->hit_curve = {fb::HitPoint(1, 0, 0, NAN, 0)}; }},
    {kRate, 1, 0, [](B &b) { b.plan->hit_curve = {fb::HitPoint(1, 0, 0, 0, 0), fb::HitPoint(2, 0, 0, 0, INFINITY)}; }},
    {"plan: more slots recommended than there are records (slots)", 9999, 0, [](B &b) { b.plan->recommended_slots = 9999; }},
    {"plan: regret is not between -1 and 1", 0, 0, [](B &b) { b.plan->regret = NAN; }},
    {"next_use: usual has not one value per record (values, records)", 1, kRecords,
     [](B &b) { nextUse(b).usual.resize(1); }},
    {"next_use: blocks without usual", 0, 0, [](B &b) { nextUse(b).usual.clear(); }},
    {"next_use: scale is not between 0 and 1", 0, 0, [](B &b) { nextUse(b).scale = NAN; }},
    {"next_use: scale is not between 0 and 1", 0, 0, [](B &b) { nextUse(b).scale = -1; }},
    {kNoLayers, 0, 0, [](B &b) { nextUse(b).blocks[0] = fb::NextUseBlock(0, 2, 0, 0); }},
    {kNoLayers, 1, 0, [](B &b) { nextUse(b).blocks[1] = fb::NextUseBlock(0, 0, 2, 1); }},
    {kNoLayers, 1, 0, [](B &b) { nextUse(b).blocks[1] = fb::NextUseBlock(0, 0, 1, 2); }},
    {kNoLayers, 0, 0, [](B &b) { nextUse(b).blocks[0] = fb::NextUseBlock(0, 0, 0, 1); }},
    {"next_use: blocks do not ascend (block)", 1, 0, [](B &b) { nextUse(b).blocks[1] = nextUse(b).blocks[0]; }},
    {"next_use: a block's rows do not follow those before (block)", 1, 1,
     [](B &b) { nextUse(b).blocks[1] = fb::NextUseBlock(1, 0, 1, 1); }},
    {"next_use: its rows are not those of its blocks (bytes, expected)", kNextUseRows - 1, kNextUseRows,
     [](B &b) { nextUse(b).rows.pop_back(); }},
    {"index: a list is longer than the format allows (offset in the index)", ~0ull, 0,
     [](B &b) { b.plan->choices.resize(1025); }},
    {kText, 0, 0, [](B &b) { b.provenance->producer = "\xff"; }},
    {kCalibrationText, 0, 0, [](B &b) { b.calibration->texts = "\xff"; }},
    {kCalibrationText, 0, 0, [](B &b) { b.calibration->hash = "a\nb"; }},
    {kCalibrationTokens, 0, 100, [](B &b) { b.calibration->fit_tokens = 0; }},
    {kCalibrationTokens, 300, 0, [](B &b) { b.calibration->held_out_tokens = 0; }},
    {kCalibrationLoss, 0, 0, [](B &b) { b.calibration->held_out_loss = -1; }},
    {kCalibrationLoss, 0, 0, [](B &b) { b.calibration->held_out_loss = NAN; }},
    {kText, 0, 0, [](B &b) { b.provenance->source = "a\x7f"; }},
    {kText, 0, 0, [](B &b) { b.provenance->source_hash = std::string("a\0b", 3); }},
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xc2\x85"; }},         // a C1 control
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xc0\xaf"; }},         // over-long
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xed\xa0\x80"; }},     // a surrogate
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xf4\x90\x80\x80"; }}, // beyond Unicode
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xe2\x82"; }},         // cut short
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xe0\x80\xaf"; }},
    {kText, 0, 0, [](B &b) { b.provenance->options = "\xf0\x80\x80\xaf"; }},
    {kText, 0, 0, [](B &b) { b.provenance->options = "\x80"; }},
    {"index: a list is longer than the format allows (offset in the index)", ~0ull, 0,
     [](B &b) { b.provenance->options.assign(65537, 'a'); }},
    // Tensors
    {kName, 1, 0, [](B &b) { b.tensors[1]->name = "\t"; }},
    {"tensor: rows or columns are out of range (tensor)", 0, 0, [](B &b) { b.tensors[0]->rows = 0; }},
    {"tensor: rows or columns are out of range (tensor)", 0, 0, [](B &b) { b.tensors[0]->rows = 1u << 31; }},
    {"tensor: rows or columns are out of range (tensor)", 2, 0, [](B &b) { b.tensors[2]->columns = 0; }},
    {"tensor: rows or columns are out of range (tensor)", 2, 0, [](B &b) { b.tensors[2]->columns = UINT32_MAX; }},
    {kNoLayout, 1, 0, [](B &b) { b.tensors[1]->layout.reset(); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 16, 1, 0, 0, 0, 1); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 32, 1, 0, 0, 0, 1); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 32, 0, 0, 0, 32, 1); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 32, 0, 0, 0, 0, 2); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 32, 0, 0, 0, 0, 0); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 1, 0, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 0, 1, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 2, 0, 0, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 0, 0, 96, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 0, 0, 512, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 0, 3, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 2, 1, 0, 0, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 2, 1, 0, 2, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 2, 0, 0, 3, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 3, 1, 0, 1, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 3, 1, 0, 3, 32, 1); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 2, 1, 0, 4, 32, 16); }},
    {kNoLayout, 1, 0, [](B &b) { setLayout(b, 1, 32, 0, 0, 3, 0, 1); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 8, 1, 0, 0, 32, 1); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 3, 1, 0, 0, 32, 16); }},
    {kNoLayout, 0, 0, [](B &b) { setLayout(b, 0, 255, 255, 255, 255, 65535, 65535); }},
    {kNoLayout, 2, 0, [](B &b) { setLayout(b, 2, 16, 0, 0, 0, 0, 16); }},
    {"tensor: bytes do not fit its shape and layout (tensor, bytes)", 0, 7617, [](B &b) { b.tensors[0]->bytes++; }},
    {"tensor: bytes do not fit its shape and layout (tensor, bytes)", 0, 7616, [](B &b) { b.tensors[0]->rows = 113; }},
    {"tensor: bytes do not fit its shape and layout (tensor, bytes)", 0, UINT64_MAX,
     [](B &b) { b.tensors[0]->bytes = UINT64_MAX; }},
    {"tensor: does not follow the one before (tensor, offset)", 0, 64, [](B &b) { b.tensors[0]->offset = 64; }},
    {"tensor: does not follow the one before (tensor, offset)", 1, 0, [](B &b) { b.tensors[1]->offset = 0; }},
    {"tensor: does not follow the one before (tensor, offset)", 3, UINT64_MAX - 63,
     [](B &b) { b.tensors[3]->offset = UINT64_MAX - 63; }},
    {"tensor: leaves the resident section (tensor, section's bytes)", 3, 15360,
     [](B &b) { b.tensors[3]->columns = 17, b.tensors[3]->bytes = 128; }},
    {"resident section: has bytes that belong to no tensor (end of tensors, section's bytes)", 15264, 15360,
     [](B &b) { b.tensors.pop_back(); }},
    // Paged tensors
    {"tensor: is not paged, but comes after one that is (tensor)", 1, 0, [](B &b) { b.tensors[0]->paged = true; }},
    {"tensor: is paged, but has no panels or fewer rows than there are tokens (tensor)", 3, 0,
     [](B &b) { b.tensors[3]->paged = true; }},
    {"tensor: is paged, but has no panels or fewer rows than there are tokens (tensor)", 3, 0,
     [](B &b) { page(b), b.model->vocab = 128; }},
    {kPanelCrcs, 0, 8, [](B &b) { page(b), b.panel_crcs.clear(); }},
    {kPanelCrcs, 9, 8, [](B &b) { page(b), b.panel_crcs.push_back(0); }},
    {kPanelCrcs, 1, 0, [](B &b) { b.panel_crcs.push_back(0); }},
    {kNotLookedUp, 1, 1, [](B &b) { page(b), b.steps[1]->operands[1] = Op(Kind::Tensor, 3); }},
    {kNotLookedUp, 11, 1, [](B &b) { page(b), b.steps[11]->operands[1] = Op(Kind::Tensor, 3); }},
    {kNotLookedUp, 0, 1, [](B &b) { page(b), b.steps[0]->operands[0] = Op(Kind::Buffer, 0); }},
    {kNotLookedUp, 0, 2,
     [](B &b) {
       page(b), b.steps[0]->operands[2] = Op(Kind::Tensor, 3);
       b.kernels[0]->extents[2] = fb::Extent(256, 0, 0);
     }},
    {kLookUpInto, 0, 2, [](B &b) { page(b), b.buffers[0] = fb::Buffer(64, 256, 0, fb::Rows::All); }},
    {kLookUpInto, 0, 2, [](B &b) { page(b), b.buffers[0] = fb::Buffer(0, 512, 0, fb::Rows::All); }},
    {kLookUpInto, 0, 2,
     [](B &b) {
       page(b), b.steps[0]->operands[2] = Op(Kind::KvKeys, 0);
       b.kernels[0]->extents[2] = fb::Extent(0, 0, 4);
     }},
    // Buffers, caches
    {"buffer: larger than the format allows (buffer)", 1, 0,
     [](B &b) { b.buffers[1] = fb::Buffer((1ull << 40) + 1, 256, 1, fb::Rows::All); }},
    {"buffer: larger than the format allows (buffer)", 1, 0,
     [](B &b) { b.buffers[1] = fb::Buffer(0, UINT64_MAX, 1, fb::Rows::All); }},
    {"buffer: no such slot (buffer, slot)", 1, 7, [](B &b) { b.buffers[1] = fb::Buffer(0, 256, 7, fb::Rows::All); }},
    {"buffer: rows is none of All, Wanted and Source (buffer, rows)", 1, 3,
     [](B &b) { b.buffers[1] = fb::Buffer(0, 256, 1, static_cast<fb::Rows>(3)); }},
    {"index: kv_bits is neither 32 nor 16 (bits)", 8, 0, [](B &b) { b.kv_bits = 8; }},
    {kTooMuch, 2, 2, [](B &b) { b.kv_bits = 16; }},
    {"attention layer: kv_heads or head_dim are out of range (attention layer)", 0, 0,
     [](B &b) { b.kv_layers[0] = fb::KvLayer(0, 16); }},
    {"attention layer: kv_heads or head_dim are out of range (attention layer)", 0, 0,
     [](B &b) { b.kv_layers[0] = fb::KvLayer(2, UINT32_MAX); }},
    {"attention layer: kv_heads or head_dim are out of range (attention layer)", 0, 0,
     [](B &b) { b.kv_layers[0] = fb::KvLayer(4097, 16); }},
    {kState, 0, 0, [](B &b) { b.states = {0}; }},
    {kState, 1, 96, [](B &b) { b.states = {64, 96}; }},
    {kState, 0, (1ull << 32) + 64, [](B &b) { b.states = {(1ull << 32) + 64}; }},
    {"index: a list is longer than the format allows (offset in the index)", ~0ull, 0,
     [](B &b) { b.states.assign(2049, 64); }},
    // Kernels
    {"index: it lists no kernels", 0, 0, [](B &b) { b.kernels.clear(); }},
    {"kernel: its name is not plain UTF-8 (kernel)", 2, 0, [](B &b) { b.kernels[2]->name = "\r"; }},
    {kExtent, 0, 0, [](B &b) { b.kernels[0]->extents[1] = fb::Extent((1ull << 40) + 1, 0, 0); }},
    {kExtent, 0, 0, [](B &b) { b.kernels[0]->extents[1] = fb::Extent(0, (1ull << 32) + 1, 0); }},
    {kExtent, 0, 0, [](B &b) { b.kernels[0]->extents[1] = fb::Extent(0, 0, UINT64_MAX); }},
    {kTiles, 4, 0, [](B &b) { b.kernels[4]->tiles_per_token = 0; }},
    {kTiles, 4, 0, [](B &b) { b.kernels[4]->tiles_fixed = UINT32_MAX; }},
    {kTiles, 4, 0, [](B &b) { b.kernels[4]->tiles_per_token = (1u << 24) + 1; }},
    {"index: a list is longer than the format allows (offset in the index)", ~0ull, 0,
     [](B &b) { b.kernels[0]->extents.resize(13); }},
    // Images
    {"index: it lists no kernel images", 0, 0, [](B &b) { b.images.clear(); }},
    {kIsa, 0, 0, [](B &b) { b.images[0]->isa = ""; }},
    {kIsa, 1, 0, [](B &b) { b.images[1]->isa = "\n"; }},
    {"image: two have the same isa (image, other)", 1, 0, [](B &b) { b.images[1]->isa = "x86-64"; }},
    {"image: its size is out of range (image, bytes)", 0, 0, [](B &b) { b.images[0]->bytes = 0; }},
    {"image: its size is out of range (image, bytes)", 1, UINT64_MAX, [](B &b) { b.images[1]->bytes = UINT64_MAX; }},
    {"image: does not follow the one before (image, offset)", 0, 4096, [](B &b) { b.images[0]->offset = 4096; }},
    {"image: does not follow the one before (image, offset)", 1, 4096, [](B &b) { b.images[1]->offset = 4096; }},
    {"image: leaves the kernels section (image, section's bytes)", 1, 13192, [](B &b) { b.images[1]->bytes = 5001; }},
    {"image: has another number of entries than there are kernels (image, entries)", 0, 10,
     [](B &b) { b.images[0]->entries.pop_back(); }},
    {"kernels section: has bytes that belong to no image (end of images, section's bytes)", 5000, 13192,
     [](B &b) { b.images.pop_back(); }},
    // Mixture layers
    {"mixture layer: number of experts is out of range (mixture layer, experts)", 0, 0,
     [](B &b) { b.moe_layers[0]->experts = 0; }},
    {"mixture layer: number of experts is out of range (mixture layer, experts)", 1, 4097,
     [](B &b) { b.moe_layers[1]->experts = 4097; }},
    {"mixture layer: top_k is not between 1 and its experts (mixture layer, top_k)", 0, 0,
     [](B &b) { b.moe_layers[0]->top_k = 0; }},
    {"mixture layer: top_k is not between 1 and its experts (mixture layer, top_k)", 0, 4,
     [](B &b) { b.moe_layers[0]->top_k = 4; }},
    {"mixture layer: not one record per expert (mixture layer, records)", 0, 3,
     [](B &b) { b.moe_layers[0]->experts = 4; }},
    {"mixture layer: has no variants (mixture layer)", 1, 0, [](B &b) { b.moe_layers[1]->variants.clear(); }},
    {"record: no such variant (mixture layer, expert)", 0, 1,
     [](B &b) { b.moe_layers[0]->records[1] = fb::Record(8192, 2, 2); }},
    {kRecord, 0, 0, [](B &b) { b.moe_layers[0]->records[0] = fb::Record(4096, 0, 0); }},
    {kRecord, 0, 1, [](B &b) { b.moe_layers[0]->records[1] = fb::Record(0, 2, 1); }},
    {kRecord, 0, 2, [](B &b) { b.moe_layers[0]->records[2] = fb::Record(UINT64_MAX - 4095, 5, 0); }},
    {"record: its checksums are not the next ones (mixture layer, expert)", 0, 1,
     [](B &b) { b.moe_layers[0]->records[1] = fb::Record(8192, 0, 1); }},
    {"record: its checksums are not the next ones (mixture layer, expert)", 1, 2, [](B &b) { b.chunk_crcs.pop_back(); }},
    {"index: has checksums that belong to no record (used, present)", 15, 16, [](B &b) { b.chunk_crcs.push_back(0); }},
    {"experts section: has bytes that belong to no record (end of records, section's bytes)", 28672, 61440,
     [](B &b) { b.moe_layers.pop_back(); }},
    // Variants
    {kRecordBytes, 0, 0, [](B &b) { variant(b).record_bytes = 0; }},
    {kRecordBytes, 0, 8191, [](B &b) { variant(b).record_bytes = 8191; }},
    {kRecordBytes, 0, 0xFFFFF000, [](B &b) { variant(b).record_bytes = 0xFFFFF000; }},
    {kParts, 0, 0, [](B &b) { variant(b).gate_up_offset = 32; }},
    {kParts, 0, 0, [](B &b) { variant(b).gate_up_offset = 2304; }},
    {kParts, 0, 0, [](B &b) { variant(b).down_offset = 2305; }},
    {kParts, 0, 0, [](B &b) { variant(b).down_offset = 8192; }},
    {kParts, 0, 0, [](B &b) { variant(b).down_offset = 0xFFFFFFC0; }},
    {kChunks, 0, 0, [](B &b) { variant(b).chunk_ends = {0, 8192}; }},
    {kChunks, 0, 4096, [](B &b) { variant(b).chunk_ends = {4096, 4096, 8192}; }},
    {kChunks, 0, 12288, [](B &b) { variant(b).chunk_ends = {4096, 12288}; }},
    {kChunks, 0, 262145, [](B &b) { variant(b).record_bytes = 266240, variant(b).chunk_ends = {262145, 266240}; }},
    {"variant: chunks do not cover the record (mixture layer, end)", 0, 4096,
     [](B &b) { variant(b).chunk_ends = {4096}; }},
    {"variant: chunks do not cover the record (mixture layer, end)", 0, 0, [](B &b) { variant(b).chunk_ends.clear(); }},
    {"variant: unknown activations (mixture layer, value)", 0, 2,
     [](B &b) { variant(b).activations = static_cast<fb::Activations>(2); }},
    {"variant: no layout of this format for experts (mixture layer)", 0, 0, [](B &b) { variant(b).layout.reset(); }},
    {"variant: no layout of this format for experts (mixture layer)", 0, 0,
     [](B &b) { *variant(b).layout = *b.tensors[1]->layout; }},
    {"variant: no layout of this format for experts (mixture layer)", 0, 0,
     [](B &b) { variant(b).down_layout = std::make_unique<fb::Layout>(*b.tensors[1]->layout); }},
    {"variant: no such kernel (mixture layer)", 0, 0, [](B &b) { variant(b).gate_up_kernel = 11; }},
    {"variant: no such kernel (mixture layer)", 0, 0, [](B &b) { variant(b).down_kernel = UINT32_MAX; }},
    // Kernel steps
    {"step: no such kernel (step, kernel)", 1, 11, [](B &b) { b.steps[1]->kernel = 11; }},
    {"step: no such kernel (step, kernel)", 1, UINT32_MAX, [](B &b) { b.steps[1]->kernel = UINT32_MAX; }},
    {"step: unknown kind (step, kind)", 1, 3, [](B &b) { b.steps[1]->kind = static_cast<fb::StepKind>(3); }},
    {"step: rows is none of All, Wanted and Source (step, rows)", 1, 3,
     [](B &b) { b.steps[1]->rows = static_cast<fb::Rows>(3); }},
    {"step: has another number of operands than its kernel (step, operands)", 1, 2,
     [](B &b) { b.steps[1]->operands.pop_back(); }},
    {"step: has another number of operands than its kernel (step, operands)", 1, 0,
     [](B &b) { b.steps[1]->operands.clear(); }},
    {"step: unknown kind of operand (step, operand)", 1, 1,
     [](B &b) { b.steps[1]->operands[1] = Op(static_cast<Kind>(7), 0); }},
    {"step: no such recurrent state (step, operand)", 1, 1, [](B &b) { b.steps[1]->operands[1] = Op(Kind::State, 0); }},
    {kTooMuch, 1, 1, [](B &b) { b.states = {64}, b.steps[1]->operands[1] = Op(Kind::State, 0); }},
    {kTooMuch, 1, 0, [](B &b) { b.states = {1 << 20}, b.steps[1]->operands[0] = Op(Kind::State, 0); }},
    {kWantedRows, 11, 1, [](B &b) { b.states = {1 << 20}, b.steps[11]->operands[1] = Op(Kind::State, 0); }},
    {kTooMuch, 1, 0, [](B &b) { b.steps[1]->operands[0] = Op(Kind::None, 0); }},
    {kTooMuch, 1, 0, [](B &b) { b.steps[1]->operands[0] = Op(Kind::TokenIds, 0); }},
    {kTooMuch, 1, 0, [](B &b) { b.steps[1]->operands[0] = Op(Kind::Tensor, 0); }},
    {kTooMuch, 1, 1, [](B &b) { b.steps[1]->operands[1] = Op(Kind::Tensor, 3); }},
    {kTooMuch, 1, 1, [](B &b) { b.steps[1]->operands[1] = Op(Kind::KvKeys, 0); }},
    {kTooMuch, 2, 2, [](B &b) { b.kv_layers[0] = fb::KvLayer(1, 16); }},
    {"step: no such tensor (step, operand)", 1, 1, [](B &b) { b.steps[1]->operands[1] = Op(Kind::Tensor, 4); }},
    {"step: no such buffer (step, operand)", 1, 2, [](B &b) { b.steps[1]->operands[2] = Op(Kind::Buffer, 7); }},
    {"step: no such attention layer (step, operand)", 2, 3,
     [](B &b) { b.steps[2]->operands[3] = Op(Kind::KvValues, 1); }},
    {kBufferTooSmall, 0, 2, [](B &b) { b.buffers[0] = fb::Buffer(1 << 20, 255, 0, fb::Rows::All); }},
    {kBufferTooSmall, 0, 2, [](B &b) { b.kernels[0]->extents[2] = fb::Extent(64, 256, 0); }},
    {kBufferTooSmall, 0, 2, [](B &b) { b.kernels[0]->extents[2] = fb::Extent(0, 256, 4); }},
    // Rows
    {"step: runs on all rows of a buffer that holds the wanted ones (step, operand)", 11, 2,
     [](B &b) { b.steps[11]->rows = fb::Rows::All; }},
    {"step: runs on all rows of a buffer that holds the wanted ones (step, operand)", 0, 2,
     [](B &b) { b.buffers[0] = fb::Buffer(0, 256, 0, fb::Rows::Wanted); }},
    {"step: wanted rows of a buffer with another row size (step, operand)", 11, 0,
     [](B &b) { b.buffers[0] = fb::Buffer(0, 512, 0, fb::Rows::All); }},
    {"step: wanted rows of a buffer with another row size (step, operand)", 11, 0,
     [](B &b) { b.buffers[0] = fb::Buffer(64, 256, 0, fb::Rows::All); }},
    {kSourceRows, 0, 2, [](B &b) { b.steps[0]->rows = fb::Rows::Source; }},
    {kSourceRows, 0, 2, [](B &b) { b.buffers[0] = fb::Buffer(0, 256, 0, fb::Rows::Source); }},
    {kSourceRows, 11, 0, [](B &b) { b.buffers[6] = fb::Buffer(0, 512, 6, fb::Rows::Source), b.steps[11]->rows = fb::Rows::Source; }},
    {kWantedRows, 0, 0, [](B &b) { b.steps[0]->rows = fb::Rows::Wanted; }},
    {kWantedRows, 2, 2, [](B &b) { b.steps[2]->rows = fb::Rows::Wanted; }},
    // Experts steps
    {kOrder, 5, 1, [](B &b) { b.steps[5]->layer = 1; }},
    {kOrder, 9, 2, [](B &b) { b.steps[9]->layer = 2; }},
    {kOrder, 11, 2, [](B &b) { *b.steps[11] = *b.steps[9], b.steps[11]->layer = 2; }},
    {"program: a mixture layer never runs (mixture layer)", 1, 0, [](B &b) { b.steps.erase(b.steps.begin() + 9); }},
    {"step: experts run on all rows only (step)", 5, 0, [](B &b) { b.steps[5]->rows = fb::Rows::Wanted; }},
    {"step: experts of the encoder run on the source's rows, others on a chunk's (step)", 5, 0,
     [](B &b) { b.steps[5]->rows = fb::Rows::Source; }},
    {"step: experts of the encoder run on the source's rows, others on a chunk's (step)", 5, 0,
     [](B &b) { b.moe_layers[0]->source = true; }},
    {kExpertsOperand, 5, 0, [](B &b) { b.moe_layers[0]->source = true, b.steps[5]->rows = fb::Rows::Source; }},
    {kRanked, 0, 2, [](B &b) { b.moe_layers[0]->ranked = true; }},
    {kRanked, 0, 1, [](B &b) { b.moe_layers[0]->ranked = true, b.moe_layers[0]->capacity = 1, b.moe_layers[0]->top_k = 1; }},
    {kWeightScale, 0, 0, [](B &b) { b.moe_layers[0]->weight_scale = 1, b.moe_layers[0]->weight_floor = 1; }},
    {kWeightScale, 0, 0, [](B &b) { b.moe_layers[0]->weight_scale = 1, b.moe_layers[0]->capacity = 1; }},
    {kWeightScale, 0, 0, [](B &b) { b.moe_layers[0]->weight_scale = -1; }},
    {kWeightScale, 0, 0, [](B &b) { b.moe_layers[0]->weight_floor = std::nanf(""); }},
    {kWeightScale, 0, 0, [](B &b) { b.moe_layers[0]->weight_floor = INFINITY; }},
    {kExpertsCount, 5, 4, [](B &b) { b.steps[5]->operands.pop_back(); }},
    {kExpertsCount, 5, 5, [](B &b) { b.moe_layers[0]->capacity = 1; }},
    {kExpertsCount, 5, 6, [](B &b) { b.steps[5]->operands.push_back(Op(Kind::Buffer, 3)); }},
    {kExpertsOperand, 5, 5,
     [](B &b) { b.moe_layers[0]->capacity = 1, b.steps[5]->operands.push_back(Op(Kind::None, 0)); }},
    {"step: the buffer of experts' weights is too small (step, bytes per token)", 5, 4,
     [](B &b) {
       b.buffers.push_back(fb::Buffer(0, 4, 0, fb::Rows::All));
       b.moe_layers[0]->capacity = 1, b.steps[5]->operands.push_back(Op(Kind::Buffer, 7));
     }},
    {kExpertsOperand, 5, 2, [](B &b) { b.steps[5]->operands[2] = Op(Kind::None, 0); }},
    {kExpertsOperand, 5, 0, [](B &b) { b.steps[5]->operands[0] = Op(Kind::TokenIds, 0); }},
    {kExpertsOperand, 5, 3, [](B &b) { b.steps[5]->operands[3] = Op(Kind::Buffer, 7); }},
    {kExpertsOperand, 5, 4, [](B &b) { b.steps[5]->operands[4] = Op(Kind::Buffer, 6); }},
    {kExpertsOperand, 5, 4, [](B &b) { b.steps[5]->operands[4] = Op(Kind::Tensor, 0); }},
    {"step: the buffer of expert ids is too small (step, bytes per token)", 5, 4,
     [](B &b) {
       b.kernels[4]->extents[1] = fb::Extent(0, 4, 0);
       b.buffers[3] = fb::Buffer(4096, 4, 3, fb::Rows::All);
     }},
    {"step: an input that a variant reads is absent (step, operand)", 5, 1,
     [](B &b) { b.steps[5]->operands[1] = Op(Kind::None, 0); }},
    {"step: an input that a variant reads is absent (step, operand)", 5, 0,
     [](B &b) { b.steps[5]->operands[0] = Op(Kind::None, 0); }},
    {"step: an expert kernel has not three operands (step, kernel)", 5, 2, [](B &b) { variant(b).gate_up_kernel = 2; }},
    {kExpertReads, 5, 5, [](B &b) { b.kernels[5]->extents[0] = fb::Extent(0, 81, 0); }},
    {kExpertReads, 5, 5, [](B &b) { b.kernels[5]->extents[0] = fb::Extent(1, 80, 0); }},
    {kExpertReads, 5, 6, [](B &b) { b.kernels[6]->extents[0] = fb::Extent(0, 257, 0); }},
    {kExpertWeights, 5, 5, [](B &b) { b.kernels[5]->extents[1] = fb::Extent(2305, 0, 0); }},
    {kExpertWeights, 5, 5, [](B &b) { b.kernels[5]->extents[1] = fb::Extent(2304, 1, 0); }},
    {kExpertWeights, 5, 6, [](B &b) { b.kernels[6]->extents[1] = fb::Extent(8192 - 2304 + 1, 0, 0); }},
    {kExpertWrites, 5, 5, [](B &b) { b.buffers[4] = fb::Buffer(1 << 20, 2 * 79, 4, fb::Rows::All); }},
    {kExpertWrites, 5, 6, [](B &b) { b.kernels[6]->extents[2] = fb::Extent(0, 257, 0); }},
    // Logits
    {"program: logits are in no buffer (buffer)", 7, 0, [](B &b) { b.logits = 7; }},
    {kLogits, 0, 256, [](B &b) { b.logits = 0; }},
    {kLogits, 6, 512, [](B &b) { b.model->vocab = 129; }},
    {kLogits, 6, 512, [](B &b) { b.buffers[6] = fb::Buffer(4, 512, 6, fb::Rows::Wanted); }},
};

// The small model's norm, as a norm and as a router, in front of layer 0's experts: a look-ahead to layer 1.
fb::StepT &addLookAhead(B &b, size_t at = 5) {
  auto step = std::make_unique<fb::StepT>();
  step->kind = fb::StepKind::LookAhead;
  step->layer = 1;
  step->kernel = step->router = 1;
  step->operands = {Op(Kind::Buffer, 0), Op(Kind::Tensor, 1), Op(Kind::Buffer, 1),
                    Op(Kind::Buffer, 1), Op(Kind::Tensor, 1), Op(Kind::Buffer, 0)};
  return **b.steps.insert(b.steps.begin() + at, std::move(step));
}

constexpr const char *kAhead =
    "step: looks ahead to a mixture layer that is not the one after the next (step, mixture layer)";
constexpr const char *kAheadCount = "step: has another number of operands than its kernels (step, operands)";
constexpr const char *kScores = "step: its router's third operand is no buffer for scores (step, operand)";
constexpr const char *kBias = "step: the selection bias is no tensor of its size (step, operand)";
constexpr const char *kPredictorKeys =
    "predictor: more keys than its layers have, or none where some are due (mixture layer, keys)";
constexpr const char *kScale = "predictor: scale is not above 0 and at most 1 (mixture layer)";
constexpr const char *kQuality = "predictor: its quality is not made of shares from 0 to 1 (mixture layer)";
constexpr const char *kFollows =
    "predictor: does not follow the one before or leaves the tables section (mixture layer, offset)";

const Case kPrediction[] = {
    // Look-ahead steps
    {"step: looking ahead runs on all rows only (step)", 5, 0, [](B &b) { addLookAhead(b).rows = fb::Rows::Wanted; }},
    {kAhead, 5, 0, [](B &b) { addLookAhead(b).layer = 0; }},
    {kAhead, 5, 2, [](B &b) { addLookAhead(b).layer = 2; }},
    {kAhead, 5, UINT32_MAX, [](B &b) { addLookAhead(b).layer = UINT32_MAX; }},
    {kAhead, 6, 1, [](B &b) { addLookAhead(b, 6); }},  // layer 0 ran already
    {"step: looks ahead to the same mixture layer again (step, mixture layer)", 6, 1,
     [](B &b) { addLookAhead(b), addLookAhead(b, 4); }},
    {"step: no such kernel (step, kernel)", 5, 11, [](B &b) { addLookAhead(b).kernel = 11; }},
    {"step: no such kernel (step, kernel)", 5, UINT32_MAX, [](B &b) { addLookAhead(b).router = UINT32_MAX; }},
    {kAheadCount, 5, 5, [](B &b) { addLookAhead(b).operands.pop_back(); }},
    {kAheadCount, 5, 8, [](B &b) { addLookAhead(b).operands.resize(8); }},
    {kAheadCount, 5, 6, [](B &b) { addLookAhead(b).router = 4; }},  // a router of two operands
    {kTooMuch, 5, 4, [](B &b) { addLookAhead(b).operands[4] = Op(Kind::Tensor, 3); }},
    {"step: no such buffer (step, operand)", 5, 5, [](B &b) { addLookAhead(b).operands[5] = Op(Kind::Buffer, 7); }},
    {kBufferTooSmall, 5, 2, [](B &b) { addLookAhead(b).operands[2] = Op(Kind::Buffer, 3); }},
    {kScores, 5, 5,
     [](B &b) {
       addLookAhead(b).operands[5] = Op(Kind::Tensor, 0);
       b.kernels[1]->extents[2] = fb::Extent(0, 0, 0);
     }},
    {kScores, 5, 5, [](B &b) { addLookAhead(b), b.kernels[1]->extents[2] = fb::Extent(0, 11, 0); }},
    {kBias, 5, 6, [](B &b) { addLookAhead(b).operands.push_back(Op(Kind::Buffer, 0)); }},
    {kBias, 5, 6, [](B &b) { addLookAhead(b).operands.push_back(Op(Kind::Tensor, 4)); }},
    {kBias, 5, 6, [](B &b) { addLookAhead(b).operands.push_back(Op(Kind::None, 0)); }},
    {"step: unknown score function (step, value)", 5, 3,
     [](B &b) { addLookAhead(b).score = static_cast<fb::ScoreFunction>(3); }},
    // Predictors
    {"predictors: not one per mixture layer (predictors, mixture layers)", 1, 2, [](B &b) { b.predictors.pop_back(); }},
    {"predictor: unknown kind (mixture layer, kind)", 1, 5,
     [](B &b) { b.predictors[1]->predictor = static_cast<fb::PredictorKind>(5); }},
    {"predictor: no step looks ahead to its layer (mixture layer)", 1, 0,
     [](B &b) { b.predictors[1]->predictor = fb::PredictorKind::LookAhead; }},
    {"predictor: unknown parts (mixture layer, parts)", 0, 64 | 63, [](B &b) { b.predictors[0]->parts |= 64; }},
    {kPredictorKeys, 0, 0, [](B &b) { b.predictors[0]->keys = 0; }},
    {kPredictorKeys, 0, 10, [](B &b) { b.predictors[0]->keys = 10; }},
    {kPredictorKeys, 0, UINT32_MAX, [](B &b) { b.predictors[0]->keys = UINT32_MAX; }},
    {kPredictorKeys, 1, 1, [](B &b) { b.predictors[1]->keys = 1; }},
    {kScale, 0, 0, [](B &b) { b.predictors[0]->scale = 0; }},
    {kScale, 0, 0, [](B &b) { b.predictors[0]->scale = -1; }},
    {kScale, 1, 0, [](B &b) { b.predictors[1]->scale = 1.5f; }},
    {kScale, 1, 0, [](B &b) { b.predictors[1]->scale = NAN; }},
    {kQuality, 0, 0, [](B &b) { b.predictors[0]->quality[0]->recall = 1.5f; }},
    {kQuality, 0, 0, [](B &b) { b.predictors[0]->quality[0]->recall_low = NAN; }},
    {kQuality, 0, 0, [](B &b) { b.predictors[0]->quality[0]->recall_high = -1; }},
    {kQuality, 0, 0, [](B &b) { b.predictors[0]->quality[0]->recall_2k = INFINITY; }},
    {kQuality, 0, 0, [](B &b) { b.predictors[0]->quality[0]->precision_2k = 2; }},
    {kQuality, 1, 0, [](B &b) { b.predictors[1]->quality[0]->predictor = static_cast<fb::PredictorKind>(5); }},
    {"predictor: break_even is not from 0 to 1 (mixture layer)", 1, 0,
     [](B &b) { b.predictors[1]->break_even = NAN; }},
    {kFollows, 0, 8, [](B &b) { b.predictors[0]->offset = 8; }},
    {kFollows, 1, 0, [](B &b) { b.predictors[1]->offset = 0; }},
    {kFollows, 1, UINT64_MAX, [](B &b) { b.predictors[1]->offset = UINT64_MAX; }},
    {kFollows, 1, 40, [](B &b) { b.predictors[1]->parts = 13; }},
    {"tables section: has bytes that belong to no predictor (end of predictors, section's bytes)", 40, 48,
     [](B &b) { b.predictors[1]->parts = 0; }},
    {"tables section: has bytes that belong to no predictor (end of predictors, section's bytes)", 0, 48,
     [](B &b) { b.predictors.clear(); }},
};

TEST(BadIndex, EachBrokenRuleIsNamed) {
  std::vector<const Case *> cases;
  for (const Case &c : kCases) cases.push_back(&c);
  for (const Case &c : kPrediction) cases.push_back(&c);
  size_t number = 0;
  for (const Case *of : cases) {
    const Case &c = *of;
    SCOPED_TRACE("case " + std::to_string(number++) + ": " + c.what);
    std::vector<uint8_t> bytes = test::bundleWithIndex(c.change);
    MemoryProvider provider(bytes.data(), bytes.size());
    Bundle bundle;
    bundle.logits = 42;
    Status status = OpenBundle(provider, &bundle);
    EXPECT_EQ(status.code, StatusCode::kBadBundle);
    EXPECT_STREQ(status.what, c.what);
    if (c.detail != ~0ull) {
      EXPECT_EQ(status.detail, c.detail);
      EXPECT_EQ(status.detail2, c.detail2);
    }
    EXPECT_EQ(bundle.logits, 42u) << "out is untouched on failure";
    EXPECT_EQ(bundle.memory, nullptr);
  }
  EXPECT_GE(number, 120u);
}

TEST(BadIndex, LookAheadStepsAndTheirPredictorAreGood) {
  for (bool bias : {false, true}) {
    std::vector<uint8_t> bytes = test::bundleWithIndex([&](B &b) {
      fb::StepT &step = addLookAhead(b);
      if (bias) step.operands.push_back(Op(Kind::Tensor, 3));
      step.score = fb::ScoreFunction::None;
      b.predictors[1]->predictor = fb::PredictorKind::LookAhead;
    });
    MemoryProvider provider(bytes.data(), bytes.size());
    Bundle bundle;
    Status status = OpenBundle(provider, &bundle);
    EXPECT_TRUE(status.ok()) << status.what << " " << status.detail << " " << status.detail2;
    CloseBundle(&bundle);
  }
}

// What the index cannot say is checked when the tables are read.
TEST(BadIndex, KeysThatDoNotAscendAreRefused) {
  BundleContents contents = test::smallModel();
  std::vector<uint8_t> bytes = *writeBundleToMemory(contents);
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  ASSERT_TRUE(OpenBundle(provider, &bundle).ok());
  std::vector<uint64_t> section((bundle.tables.length + 7) / 8);
  ASSERT_TRUE(ReadSection(provider, bundle.tables, section.data()).ok());
  LayerPredictor layers[2];
  ASSERT_TRUE(ReadPredictors(bundle, section.data(), layers).ok());
  EXPECT_EQ(layers[0].kind, PredictorKind::kTable);
  EXPECT_EQ(layers[0].key_count, 2u);
  EXPECT_EQ(layers[0].keys[1], 8);
  EXPECT_EQ(static_cast<const void *>(layers[0].prior), reinterpret_cast<const char *>(section.data()) + 4);
  EXPECT_EQ(layers[0].rows - layers[0].prior, 3 + 2 + 9 + 9 + 4);
  EXPECT_EQ(layers[1].prior[0], 10);
  EXPECT_EQ(layers[1].prior[2], -10);
  EXPECT_EQ(layers[1].near, nullptr);
  auto *keys = reinterpret_cast<uint16_t *>(section.data());
  for (auto [first, second, bad] : {std::tuple(8, 8, 8), {8, 1, 1}, {1, 9, 9}, {65535, 8, 65535}}) {
    keys[0] = static_cast<uint16_t>(first);
    keys[1] = static_cast<uint16_t>(second);
    Status status = ReadPredictors(bundle, section.data(), layers);
    EXPECT_EQ(status.code, StatusCode::kBadBundle);
    EXPECT_STREQ(status.what, "predictor: keys do not ascend, or are too large (mixture layer, key)");
    EXPECT_EQ(status.detail, 0u);
    EXPECT_EQ(status.detail2, static_cast<uint64_t>(bad));
  }
  CloseBundle(&bundle);
}

TEST(BadIndex, PagedTensorsAreGood) {
  std::vector<uint8_t> bytes = test::bundleWithIndex(page);
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  Status status = OpenBundle(provider, &bundle);
  EXPECT_TRUE(status.ok()) << status.what << " " << status.detail << " " << status.detail2;
  // The section's checksum is right; those of its parts were not made.
  EXPECT_STREQ(VerifyBundle(provider, bundle, nullptr, nullptr).what,
               "resident section: not what panel_crcs say (checksum's number, CRC-32C there)");
  CloseBundle(&bundle);
}

TEST(BadIndex, TheUnchangedBundleIsGood) {
  std::vector<uint8_t> bytes = test::bundleWithIndex([](fb::BundleT &) {});
  MemoryProvider provider(bytes.data(), bytes.size());
  Bundle bundle;
  Status status = OpenBundle(provider, &bundle);
  EXPECT_TRUE(status.ok()) << status.what;
  EXPECT_TRUE(VerifyBundle(provider, bundle, nullptr, nullptr).ok());
  CloseBundle(&bundle);
}

}  // namespace
}  // namespace emoe::rt
