// Command lines: one table of flags per command drives parsing, --help and suggestions.
#ifndef EMOE_TOOLS_EMOEC_FLAGS_H_
#define EMOE_TOOLS_EMOEC_FLAGS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace emoe {

struct Flag {
  std::string name;      // "--bits"
  std::string argument;  // "N"; empty: a switch; "FILE...": one or more, up to the next flag
  std::string help;
  // Takes the argument ("" for a switch); InvalidArgument says what would be right.
  std::function<absl::Status(const std::string &)> set;
};

struct Command {
  std::string name, positional, summary;
  std::vector<std::string> examples;
  std::vector<Flag> flags;
};

std::string helpText(const Command &command);

// The name of `names` that `given` may be a misspelling of; empty if none is near.
std::string nearestOf(const std::vector<std::string> &names, const std::string &given);

// Parses arguments; `--flag value` and `--flag=value` are the same, `--` ends the flags. Errors name the argument and
// suggest the nearest flag.
absl::Status parseFlags(const Command &command, const std::vector<std::string> &arguments,
                        std::vector<std::string> &positional);

// Setters for common kinds.
std::function<absl::Status(const std::string &)> setString(std::string &out);
std::function<absl::Status(const std::string &)> setSwitch(bool &out);
std::function<absl::Status(const std::string &)> appendString(std::vector<std::string> &out);
// A whole number from `least` on, times `unit`.
std::function<absl::Status(const std::string &)> setNumber(uint64_t &out, uint64_t least, uint64_t unit = 1);
std::function<absl::Status(const std::string &)> setOneOf(unsigned &out, std::vector<unsigned> allowed);

} // namespace emoe

#endif // EMOE_TOOLS_EMOEC_FLAGS_H_
