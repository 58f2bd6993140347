#include "compiler/tokenizer/automaton.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "runtime/text/tokenizer_tables.h"

namespace emoe {

absl::StatusOr<ClassMap> partitionCodePoints(const std::vector<CodeSet> &sets) {
  // Sweep over all borders, keeping the sets that the current code points are in.
  std::map<uint32_t, std::vector<size_t>> toggles;
  for (size_t i = 0; i < sets.size(); ++i) {
    for (auto [first, last] : sets[i].ranges()) {
      toggles[first].push_back(i);
      toggles[last + 1].push_back(i);
    }
  }
  toggles[0];
  toggles[kLastCodePoint + 1];
  ClassMap map;
  map.classOf.resize(kLastCodePoint + 1);
  std::map<std::vector<bool>, uint8_t> classes;
  std::vector<bool> in(sets.size());
  uint32_t begin = 0;
  for (const auto &[border, changes] : toggles) {
    if (border > begin) {
      auto [known, isNew] = classes.try_emplace(in, static_cast<uint8_t>(classes.size()));
      if (isNew) {
        if (classes.size() > 256) {
          return absl::UnimplementedError("the split patterns tell more than 256 kinds of characters apart");
        }
        map.representatives.push_back(begin);
      }
      std::fill(map.classOf.begin() + begin, map.classOf.begin() + border, known->second);
      begin = border;
    }
    for (size_t i : changes) {
      in[i] = !in[i];
    }
  }
  return map;
}

void collectSets(const Regex &pattern, std::vector<CodeSet> &sets) {
  if (pattern.kind == Regex::Kind::Set || pattern.kind == Regex::Kind::Look) {
    sets.push_back(pattern.set);
  }
  for (const auto &part : pattern.parts) {
    collectSets(*part, sets);
  }
}

namespace {

// Places in a pattern. Choice has no character of its own: `next` in order of preference.
struct Place {
  enum class Kind { Choice, Set, Look, Match, MatchBefore } kind;
  const CodeSet *set = nullptr;
  bool atEnd = false;
  std::vector<uint32_t> next;
};

constexpr uint32_t kMatch = 0, kMatchBefore = 1;

class Builder {
public:
  explicit Builder(const ClassMap &classes) : classes(classes) {
    places.push_back({Place::Kind::Match, nullptr, false, {}});
    places.push_back({Place::Kind::MatchBefore, nullptr, false, {}});
  }

  absl::StatusOr<Automaton> run(const Regex &pattern);

private:
  static constexpr size_t kMostPlaces = 20000;

  void refuse(absl::string_view what) {
    if (status.ok()) {
      status = absl::UnimplementedError(absl::StrCat("pattern: ", what));
    }
  }
  uint32_t add(Place place) {
    if (places.size() >= kMostPlaces) {
      refuse("too large; lower its repeat counts");
      return kMatch;
    }
    places.push_back(std::move(place));
    return places.size() - 1;
  }

  uint32_t compile(const Regex &node, uint32_t next);
  uint32_t compileRepeat(const Regex &node, uint32_t next);
  static bool mayBeEmpty(const Regex &node);
  bool possessiveIsGreedy(const Regex &body, uint32_t next) const;
  void close(uint32_t place, std::vector<uint32_t> &list, std::vector<bool> &seen) const;
  std::vector<uint32_t> step(const std::vector<uint32_t> &list, uint32_t code) const;
  uint8_t accept(const std::vector<uint32_t> &list) const;
  Automaton minimise(const std::vector<uint16_t> &transitions, const std::vector<uint8_t> &accepts) const;

  const ClassMap &classes;
  std::vector<Place> places;
  absl::Status status;
};

bool Builder::mayBeEmpty(const Regex &node) {
  switch (node.kind) {
  case Regex::Kind::Set: return false;
  case Regex::Kind::Look: return true;
  case Regex::Kind::Repeat: return node.least == 0 || mayBeEmpty(*node.parts[0]);
  case Regex::Kind::Concat:
    return std::all_of(node.parts.begin(), node.parts.end(), [](const auto &part) { return mayBeEmpty(*part); });
  case Regex::Kind::Alternate:
    return std::any_of(node.parts.begin(), node.parts.end(), [](const auto &part) { return mayBeEmpty(*part); });
  }
  return true;
}

// Compiles backwards: the result is where to begin so that `node` leads to `next`.
uint32_t Builder::compile(const Regex &node, uint32_t next) {
  if (!status.ok()) {
    return kMatch;
  }
  switch (node.kind) {
  case Regex::Kind::Set:
    return add({Place::Kind::Set, &node.set, false, {next}});
  case Regex::Kind::Look:
    if (next != kMatch) {
      refuse("a look-ahead is supported only at the end of an alternative; move it there");
    }
    return add({Place::Kind::Look, &node.set, node.atEnd, {}});
  case Regex::Kind::Concat:
    for (auto part = node.parts.rbegin(); part != node.parts.rend(); ++part) {
      next = compile(**part, next);
    }
    return next;
  case Regex::Kind::Alternate: {
    Place choice{Place::Kind::Choice, nullptr, false, {}};
    for (const auto &part : node.parts) {
      choice.next.push_back(compile(*part, next));
    }
    return add(std::move(choice));
  }
  case Regex::Kind::Repeat:
    return compileRepeat(node, next);
  }
  return kMatch;
}

uint32_t Builder::compileRepeat(const Regex &node, uint32_t next) {
  const Regex &body = *node.parts[0];
  if (mayBeEmpty(body)) {
    refuse("a repeat of something that may be empty; make it match at least one character");
    return kMatch;
  }
  if (node.greed == Regex::Greed::Possessive && !possessiveIsGreedy(body, next)) {
    refuse("a possessive repeat whose end matters for the match; write it without +");
    return kMatch;
  }
  auto choice = [&](uint32_t again, uint32_t stop) {
    return node.greed == Regex::Greed::Lazy ? std::vector{stop, again} : std::vector{again, stop};
  };
  uint32_t rest = next;
  if (node.most == Regex::kUnlimited) {
    uint32_t loop = add({Place::Kind::Choice, nullptr, false, {}});
    uint32_t again = compile(body, loop);
    places[loop].next = choice(again, next);
    rest = loop;
  } else {
    for (uint32_t i = node.least; i < node.most && status.ok(); ++i) {
      rest = add({Place::Kind::Choice, nullptr, false, choice(compile(body, rest), next)});
    }
  }
  for (uint32_t i = 0; i < node.least && status.ok(); ++i) {
    rest = compile(body, rest);
  }
  return rest;
}

// A possessive repeat of one character never gives back what it took. The greedy one does not either if what follows
// can begin with no character of the repeat, or can always match the empty text.
bool Builder::possessiveIsGreedy(const Regex &body, uint32_t next) const {
  if (body.kind != Regex::Kind::Set) {
    return false;
  }
  std::vector<uint32_t> list;
  std::vector<bool> seen(places.size());
  close(next, list, seen);
  bool alwaysMatches = !list.empty() && list.back() == kMatch;
  return alwaysMatches || std::all_of(list.begin(), list.end(), [&](uint32_t i) {
           return places[i].kind == Place::Kind::Set && places[i].set->disjoint(body.set);
         });
}

// Appends the places with characters that `place` leads to, best first; none behind a match.
void Builder::close(uint32_t place, std::vector<uint32_t> &list, std::vector<bool> &seen) const {
  std::vector<uint32_t> stack{place};
  while (!stack.empty() && (list.empty() || list.back() > kMatchBefore)) {
    uint32_t at = stack.back();
    stack.pop_back();
    if (seen[at]) {
      continue;
    }
    seen[at] = true;
    if (places[at].kind == Place::Kind::Choice) {
      stack.insert(stack.end(), places[at].next.rbegin(), places[at].next.rend());
    } else {
      list.push_back(at);
    }
  }
}

std::vector<uint32_t> Builder::step(const std::vector<uint32_t> &list, uint32_t code) const {
  std::vector<uint32_t> result;
  std::vector<bool> seen(places.size());
  for (uint32_t i : list) {
    const Place &place = places[i];
    if (!place.set || !place.set->contains(code)) {
      continue;
    }
    close(place.kind == Place::Kind::Look ? kMatchBefore : place.next[0], result, seen);
    if (!result.empty() && result.back() <= kMatchBefore) {
      break;
    }
  }
  return result;
}

uint8_t Builder::accept(const std::vector<uint32_t> &list) const {
  if (list.empty()) {
    return 0;
  }
  uint8_t flags = list.back() == kMatch ? rt::kAcceptHere : list.back() == kMatchBefore ? rt::kAcceptBefore : 0;
  for (uint32_t i : list) {
    if (places[i].kind == Place::Kind::Look && places[i].atEnd) {
      flags |= rt::kAcceptAtEnd;
    }
  }
  return flags;
}

// Moore's algorithm: states stay together while nothing tells them apart.
Automaton Builder::minimise(const std::vector<uint16_t> &transitions, const std::vector<uint8_t> &accepts) const {
  size_t states = accepts.size(), width = classes.size(), groups = 0;
  std::vector<uint32_t> group(accepts.begin(), accepts.end());
  for (;;) {
    std::map<std::vector<uint32_t>, uint32_t> known;
    std::vector<uint32_t> refined(states);
    // State 0 comes first, so the dead group keeps number 0, and the start's number 1.
    for (size_t state = 0; state < states; ++state) {
      std::vector<uint32_t> key{group[state]};
      for (size_t c = 0; c < width; ++c) {
        key.push_back(group[transitions[state * width + c]]);
      }
      refined[state] = known.try_emplace(std::move(key), known.size()).first->second;
    }
    group = std::move(refined);
    if (known.size() == groups) {
      break;
    }
    groups = known.size();
  }
  if (group[1] != 1) {  // nothing tells the start from the dead state
    return {};
  }
  Automaton result;
  result.transitions.resize(groups * width);
  result.accepts.resize(groups);
  for (size_t state = 0; state < states; ++state) {
    result.accepts[group[state]] = accepts[state];
    for (size_t c = 0; c < width; ++c) {
      result.transitions[group[state] * width + c] = group[transitions[state * width + c]];
    }
  }
  return result;
}

// Whether searching may take more than linear time. A search runs on behind its last acceptance while it may still find
// a better one; what it read there in vain is read again by the next search. That is linear if the next search
// swallows it. So both are followed together, over pairs of states (the search's, silent; the next one's), and the next
// one may stay without acceptance for at most kMaxSilentSteps steps in a row.
bool searchesFar(const Automaton &automaton, size_t width) {
  auto next = [&](size_t state, size_t c) -> size_t { return automaton.transitions[state * width + c]; };
  auto accepts = [&](size_t state) { return automaton.accepts[state] & (rt::kAcceptHere | rt::kAcceptBefore); };
  auto silent = [&](size_t state) { return state != 0 && !accepts(state); };
  using Pair = std::pair<size_t, size_t>;
  std::map<Pair, uint32_t> behind;  // steps without acceptance from this pair on, itself included
  std::vector<Pair> work;
  auto reach = [&](size_t search, size_t following) {
    if (silent(search) && behind.try_emplace({search, following}, 0).second) {
      work.push_back({search, following});
    }
  };
  for (size_t state = 1; state < automaton.accepts.size(); ++state) {
    for (size_t c = 0; c < width; ++c) {
      size_t to = next(state, c);
      if (state == 1) {
        reach(to, 1);  // nothing found yet: the next search begins one character further
      }
      if (automaton.accepts[state] & rt::kAcceptHere) {
        reach(to, next(1, c));
      }
      if (automaton.accepts[to] & rt::kAcceptBefore) {
        for (size_t d = 0; d < width; ++d) {
          reach(next(to, d), next(next(1, c), d));
        }
      }
    }
  }
  while (!work.empty()) {
    auto [search, following] = work.back();
    work.pop_back();
    for (size_t c = 0; c < width; ++c) {
      reach(next(search, c), next(following, c));
    }
  }
  for (uint32_t round = 0; round <= rt::kMaxSilentSteps; ++round) {
    bool changed = false;
    for (auto &[pair, steps] : behind) {
      if (accepts(pair.second)) {
        continue;
      }
      uint32_t most = 0;
      for (size_t c = 0; c < width; ++c) {
        auto after = behind.find({next(pair.first, c), next(pair.second, c)});
        most = after == behind.end() ? most : std::max(most, after->second);
      }
      changed |= steps != most + 1;
      steps = most + 1;
    }
    if (!changed) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<Automaton> Builder::run(const Regex &pattern) {
  uint32_t start = compile(pattern, kMatch);
  if (!status.ok()) {
    return status;
  }
  std::vector<uint32_t> first;
  std::vector<bool> seen(places.size());
  close(start, first, seen);
  if (accept(first) != 0 || first.empty() ||
      std::any_of(first.begin(), first.end(), [&](uint32_t i) { return places[i].kind == Place::Kind::Look; })) {
    return absl::UnimplementedError("pattern: it may match the empty text; make it match at least one character");
  }
  std::map<std::vector<uint32_t>, uint16_t> known{{{}, 0}, {first, 1}};
  std::vector<std::vector<uint32_t>> lists{{}, first};
  std::vector<uint16_t> transitions;
  std::vector<uint8_t> accepts;
  for (size_t state = 0; state < lists.size(); ++state) {
    accepts.push_back(accept(lists[state]));
    for (uint32_t code : classes.representatives) {
      std::vector<uint32_t> list = step(lists[state], code);
      auto [found, isNew] = known.try_emplace(list, static_cast<uint16_t>(lists.size()));
      if (isNew) {
        if (lists.size() >= rt::kMaxStates * 8) {
          return absl::UnimplementedError("pattern: its automaton is too large; lower its repeat counts");
        }
        lists.push_back(std::move(list));
      }
      transitions.push_back(found->second);
    }
  }
  Automaton result = minimise(transitions, accepts);
  if (result.accepts.size() > rt::kMaxStates) {
    return absl::UnimplementedError("pattern: its automaton is too large; lower its repeat counts");
  }
  if (result.accepts.size() < 2) {
    return absl::UnimplementedError("pattern: it never matches");
  }
  if (searchesFar(result, classes.size())) {
    return absl::UnimplementedError(
        "pattern: it may search through a long text and then not match, which takes quadratic time; add an alternative "
        "that matches what was searched");
  }
  return result;
}

} // namespace

absl::StatusOr<Automaton> buildAutomaton(const Regex &pattern, const ClassMap &classes) {
  return Builder(classes).run(pattern);
}

} // namespace emoe
