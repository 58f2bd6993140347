// Lays the tables out (schema/FORMAT.md, "tokenizer"): hash tables by linear probing, the added tokens' tries, the
// class map in pages, and the split automata.
#include "compiler/tokenizer/tables.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "compiler/tokenizer/automaton.h"

namespace emoe {
namespace {

template <typename T>
struct HashTable {
  std::vector<T> slots;
  uint32_t probes = 0;
};

// Puts `items` where look-ups find them within kMaxProbes tries, in as little room as that takes.
template <typename T, typename Hash>
HashTable<T> buildHashTable(const std::vector<T> &items, const T &empty, Hash hash) {
  HashTable<T> table;
  if (items.empty()) {
    return table;
  }
  for (size_t size = items.size() * 4 / 3 + 1;; size += size / 4 + 1) {
    table.slots.assign(size, empty);
    std::vector<bool> used(size);
    table.probes = 0;
    for (const T &item : items) {
      uint32_t slot = rt::FirstSlot(hash(item), size), probes = 1;
      for (; used[slot]; ++probes) {
        slot = slot + 1 == size ? 0 : slot + 1;
      }
      used[slot] = true;
      table.slots[slot] = item;
      table.probes = std::max(table.probes, probes);
    }
    if (table.probes <= rt::kMaxProbes) {
      return table;
    }
  }
}

// Merging one text with the merges, as the runtime does it; for finding out which tokens merging gives.
class Merger {
public:
  explicit Merger(const TokenizerModel &model) : model(model) {
    for (size_t rank = 0; rank < model.merges.size(); ++rank) {
      const TokenizerModel::Merge &merge = model.merges[rank];
      ranks[uint64_t(merge.left) << 32 | merge.right] = rank;  // the last of equal pairs counts
    }
  }

  bool gives(const std::string &text, uint32_t id) const {
    std::vector<uint32_t> symbols;
    for (unsigned char byte : text) {
      if (model.byteIds[byte] < 0) {
        return false;
      }
      symbols.push_back(model.byteIds[byte]);
    }
    while (symbols.size() > 1) {
      size_t best = 0, bestRank = model.merges.size();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        auto rank = ranks.find(uint64_t(symbols[i]) << 32 | symbols[i + 1]);
        if (rank != ranks.end() && rank->second < bestRank) {
          best = i;
          bestRank = rank->second;
        }
      }
      if (bestRank == model.merges.size()) {
        return false;
      }
      symbols[best] = model.merges[bestRank].id;
      symbols.erase(symbols.begin() + best + 1);
    }
    return !symbols.empty() && symbols[0] == id;
  }

  std::vector<rt::MergeEntry> entries() const {
    std::vector<rt::MergeEntry> entries;
    for (auto [pair, rank] : sorted()) {
      entries.push_back({uint32_t(pair >> 32), uint32_t(pair), uint32_t(rank), model.merges[rank].id});
    }
    return entries;
  }

private:
  // By rank, so that the output does not depend on the hash map's order.
  std::vector<std::pair<uint64_t, size_t>> sorted() const {
    std::vector<std::pair<uint64_t, size_t>> list(ranks.begin(), ranks.end());
    std::sort(list.begin(), list.end(), [](const auto &a, const auto &b) { return a.second < b.second; });
    return list;
  }

  const TokenizerModel &model;
  std::unordered_map<uint64_t, size_t> ranks;
};

// Both tries, breadth first: children are consecutive and behind their parents.
absl::StatusOr<std::vector<rt::AddedNode>> buildTries(const std::vector<TokenizerModel::AddedToken> &added) {
  struct Node {
    std::map<uint8_t, std::unique_ptr<Node>> children;
    int32_t id = -1;
  };
  Node roots[2];
  for (const TokenizerModel::AddedToken &token : added) {
    if (token.text.size() > rt::kMaxAddedBytes) {
      return absl::UnimplementedError(absl::StrCat("added token ", token.id, " is longer than ", rt::kMaxAddedBytes,
                                                   " bytes; shorten it"));
    }
    Node *node = &roots[token.normalised];
    for (unsigned char byte : token.text) {
      std::unique_ptr<Node> &child = node->children[byte];
      if (!child) {
        child = std::make_unique<Node>();
      }
      node = child.get();
    }
    node->id = token.id;
  }
  std::vector<rt::AddedNode> nodes(2);
  std::deque<std::pair<const Node *, uint32_t>> queue{{&roots[0], 0}, {&roots[1], 1}};
  for (uint32_t root : {0, 1}) {
    nodes[root] = {0, -1, 0, 0, 0};
  }
  for (; !queue.empty(); queue.pop_front()) {
    auto [node, index] = queue.front();
    nodes[index].first_child = node->children.empty() ? 0 : nodes.size();
    nodes[index].children = node->children.size();
    for (const auto &[byte, child] : node->children) {
      queue.emplace_back(child.get(), nodes.size());
      nodes.push_back({0, child->id, 0, byte, uint8_t(nodes[index].depth + 1)});
    }
  }
  return nodes;
}

// Appends arrays in order, each at a multiple of 8.
class Writer {
public:
  Writer() : bytes(sizeof(rt::TokenizerHeader)) {}

  template <typename T>
  void add(rt::TokenizerArray array, const T *items, size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes.resize((bytes.size() + 7) & ~size_t(7));
    header.arrays[array] = {uint32_t(bytes.size()), uint32_t(count)};
    const uint8_t *from = reinterpret_cast<const uint8_t *>(items);
    bytes.insert(bytes.end(), from, from + count * sizeof(T));
  }
  template <typename T>
  void add(rt::TokenizerArray array, const std::vector<T> &items) { add(array, items.data(), items.size()); }

  std::vector<uint8_t> finish() {
    header.magic = rt::kTokenizerMagic;
    header.version = rt::kTokenizerVersion;
    header.bytes = bytes.size();
    std::memcpy(bytes.data(), &header, sizeof(header));
    return std::move(bytes);
  }

  rt::TokenizerHeader header = {};

private:
  std::vector<uint8_t> bytes;
};

void addTokens(const TokenizerModel &model, Writer &writer) {
  std::vector<uint32_t> offsets{0};
  std::vector<uint8_t> flags, bytes;
  for (const TokenizerModel::Token &token : model.tokens) {
    bytes.insert(bytes.end(), token.bytes.begin(), token.bytes.end());
    offsets.push_back(bytes.size());
    flags.push_back(token.flags);
  }
  writer.header.vocab = model.tokens.size();
  writer.header.first_token = model.firstToken;
  writer.add(rt::kTokenOffsets, offsets);
  writer.add(rt::kTokenFlagBytes, flags);
  writer.add(rt::kTokenBytes, bytes);
  writer.add(rt::kByteIds, model.byteIds, 256);
}

void addMerges(const TokenizerModel &model, Writer &writer) {
  Merger merger(model);
  auto merges = buildHashTable<rt::MergeEntry>(merger.entries(), {0, 0, rt::kNoRank, 0}, [](const rt::MergeEntry &entry) {
    return rt::HashMerge(entry.left, entry.right);
  });
  // Whole tokens are found at once where merging would give them anyway, or where the model asks for it.
  std::vector<uint32_t> words;
  for (uint32_t id = 0; id < model.tokens.size(); ++id) {
    const TokenizerModel::Token &token = model.tokens[id];
    if (token.byteLevel && (model.ignoreMerges || merger.gives(token.bytes, id))) {
      words.push_back(id);
    }
  }
  auto table = buildHashTable<uint32_t>(words, rt::kNoToken, [&](uint32_t id) {
    const std::string &text = model.tokens[id].bytes;
    return rt::HashWord(reinterpret_cast<const uint8_t *>(text.data()), text.size());
  });
  writer.header.merge_probes = merges.probes;
  writer.header.word_probes = table.probes;
  writer.add(rt::kMerges, merges.slots);
  writer.add(rt::kWords, table.slots);
}

// What normal form C never changes, whatever stands around it: starters that are no excluded composites, singletons, or
// seconds of a composition.
CodeSet plainSet() {
  CodeSet changing;
  for (const CanonicalPair &pair : canonicalPairs()) {
    uint32_t code = pair.composes ? pair.second : pair.code;
    changing.add(code, code);
  }
  for (const CombiningRun &run : combiningRuns()) {
    changing.add(run.first, run.last);
  }
  changing.add(0x1161, 0x1175);  // Hangul vowels and tails
  changing.add(0x11a8, 0x11c2);
  return changing.complement();
}

absl::Status addNormaliser(const TokenizerModel &model, Writer &writer) {
  std::vector<rt::NfcPair> decompositions, compositions;
  std::vector<rt::CombiningRange> combining;
  if (model.nfc) {
    CodeSet plain = plainSet();
    for (const TokenizerModel::AddedToken &token : model.added) {
      std::unique_ptr<Regex> characters = literalRegex(token.text);
      for (const auto &character : characters->parts) {
        if (token.normalised && !plain.contains(character->set.ranges()[0].first)) {
          return absl::UnimplementedError(absl::StrCat("added token ", token.id, " has characters that the normalizer "
                                                       "may change; give it \"normalized\": false"));
        }
      }
    }
    for (const CanonicalPair &pair : canonicalPairs()) {
      decompositions.push_back({pair.code, pair.first, pair.second});
      if (pair.composes) {
        compositions.push_back({pair.code, pair.first, pair.second});
      }
    }
    std::sort(compositions.begin(), compositions.end(), [](const rt::NfcPair &a, const rt::NfcPair &b) {
      return std::pair(a.first, a.second) < std::pair(b.first, b.second);
    });
    for (const CombiningRun &run : combiningRuns()) {
      combining.push_back({run.first, run.last, run.combiningClass});
    }
  }
  writer.add(rt::kDecompositions, decompositions);
  writer.add(rt::kCompositions, compositions);
  writer.add(rt::kCombining, combining);
  return absl::OkStatus();
}

// The class map in pages of 128 code points, equal pages shared.
void addClasses(const ClassMap &classes, const CodeSet &plain, Writer &writer) {
  constexpr size_t kPage = 1u << rt::kPageBits;
  std::map<std::vector<uint8_t>, uint16_t> known;
  std::vector<uint16_t> pageOf;
  std::vector<uint8_t> pages;
  for (size_t code = 0; code < rt::kCodePoints; code += kPage) {
    std::vector<uint8_t> page(classes.classOf.begin() + code, classes.classOf.begin() + code + kPage);
    auto [found, isNew] = known.try_emplace(page, known.size());
    if (isNew) {
      pages.insert(pages.end(), page.begin(), page.end());
    }
    pageOf.push_back(found->second);
  }
  CodeSet word = boundaryWordSet();
  std::vector<uint8_t> flags;
  for (uint32_t code : classes.representatives) {
    flags.push_back((spaceSet().contains(code) ? rt::kClassSpace : 0) | (word.contains(code) ? rt::kClassWord : 0) |
                    (plain.contains(code) ? rt::kClassNfcPlain : 0));
  }
  writer.add(rt::kPageOf, pageOf);
  writer.add(rt::kPages, pages);
  writer.add(rt::kClasses, flags);
}

absl::Status addSplits(const TokenizerModel &model, Writer &writer) {
  CodeSet plain = model.nfc ? plainSet() : CodeSet();
  std::vector<CodeSet> sets{spaceSet(), boundaryWordSet(), plain};
  for (const TokenizerModel::Split &split : model.splits) {
    collectSets(*split.pattern, sets);
  }
  absl::StatusOr<ClassMap> classes = partitionCodePoints(sets);
  if (!classes.ok()) {
    return classes.status();
  }
  addClasses(*classes, plain, writer);
  std::vector<rt::SplitStage> stages;
  std::vector<uint16_t> transitions;
  std::vector<uint8_t> accepts;
  for (const TokenizerModel::Split &split : model.splits) {
    absl::StatusOr<Automaton> automaton = buildAutomaton(*split.pattern, *classes);
    if (!automaton.ok()) {
      return absl::Status(automaton.status().code(), absl::StrCat(split.where, ": ", automaton.status().message()));
    }
    stages.push_back({uint32_t(accepts.size()), uint16_t(automaton->accepts.size()), split.behaviour, split.invert});
    transitions.insert(transitions.end(), automaton->transitions.begin(), automaton->transitions.end());
    accepts.insert(accepts.end(), automaton->accepts.begin(), automaton->accepts.end());
  }
  if (stages.size() > rt::kMaxStages) {
    return absl::UnimplementedError(absl::StrCat("more than ", rt::kMaxStages, " split pre-tokenizers"));
  }
  writer.add(rt::kStages, stages);
  writer.add(rt::kTransitions, transitions);
  writer.add(rt::kAccepts, accepts);
  return absl::OkStatus();
}

} // namespace

absl::StatusOr<std::vector<uint8_t>> writeTokenizerTables(const TokenizerModel &model) {
  Writer writer;
  addTokens(model, writer);
  addMerges(model, writer);
  absl::StatusOr<std::vector<rt::AddedNode>> tries = buildTries(model.added);
  if (!tries.ok()) {
    return tries.status();
  }
  writer.add(rt::kAddedNodes, *tries);
  if (absl::Status status = addSplits(model, writer); !status.ok()) {
    return status;
  }
  if (absl::Status status = addNormaliser(model, writer); !status.ok()) {
    return status;
  }
  writer.header.flags = (model.prefixSpace ? rt::kTokenizerPrefixSpace : 0) | (model.nfc ? rt::kTokenizerNfc : 0) |
                        (model.ignoreMerges ? rt::kTokenizerIgnoreMerges : 0);
  return writer.finish();
}

} // namespace emoe
