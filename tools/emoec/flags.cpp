#include "tools/emoec/flags.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "llvm/ADT/StringRef.h"

namespace emoe {

std::string helpText(const Command &command) {
  std::string text = absl::StrCat("usage: emoec ", command.name, " ", command.positional, " [flags]\n\n",
                                  command.summary, "\n\nflags:\n");
  for (const Flag &flag : command.flags) {
    std::string left = absl::StrCat("  ", flag.name, flag.argument.empty() ? "" : " ", flag.argument);
    left.resize(std::max<size_t>(left.size() + 2, 28), ' ');
    absl::StrAppend(&text, left, flag.help, "\n");
  }
  absl::StrAppend(&text, "\nexamples:\n");
  for (const std::string &example : command.examples) {
    absl::StrAppend(&text, "  ", example, "\n");
  }
  return text;
}

std::string nearestOf(const std::vector<std::string> &names, const std::string &given) {
  std::string best;
  unsigned bestDistance = 4;
  for (const std::string &name : names) {
    unsigned distance = llvm::StringRef(given).edit_distance(name, true, bestDistance);
    if (distance < bestDistance && distance < given.size()) {
      bestDistance = distance;
      best = name;
    }
  }
  return best;
}

static std::string nearestFlag(const Command &command, const std::string &given) {
  std::vector<std::string> names;
  for (const Flag &flag : command.flags) {
    names.push_back(flag.name);
  }
  return nearestOf(names, given);
}

absl::Status parseFlags(const Command &command, const std::vector<std::string> &arguments,
                        std::vector<std::string> &positional) {
  bool flagsEnded = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string &argument = arguments[i];
    if (flagsEnded || argument.size() < 2 || argument[0] != '-') {
      positional.push_back(argument);
      continue;
    }
    if (argument == "--") {
      flagsEnded = true;
      continue;
    }
    size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    auto flag = std::find_if(command.flags.begin(), command.flags.end(),
                             [&](const Flag &candidate) { return candidate.name == name; });
    if (flag == command.flags.end()) {
      std::string suggestion = nearestFlag(command, name);
      return absl::InvalidArgumentError(
          absl::StrCat("unknown flag ", name, suggestion.empty() ? "" : absl::StrCat("; did you mean ", suggestion, "?")));
    }
    std::string value;
    if (!flag->argument.empty()) {
      if (equals != std::string::npos) {
        value = argument.substr(equals + 1);
      } else if (++i < arguments.size()) {
        value = arguments[i];
      } else {
        return absl::InvalidArgumentError(absl::StrCat(name, " needs a value: ", name, " ", flag->argument));
      }
    } else if (equals != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(name, " takes no value"));
    }
    std::vector<std::string> values{value};
    while (absl::EndsWith(flag->argument, "...") && i + 1 < arguments.size() && arguments[i + 1].rfind("-", 0) != 0) {
      values.push_back(arguments[++i]);
    }
    for (const std::string &each : values) {
      if (absl::Status status = flag->set(each); !status.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(name, " ", each, ": ", std::string(status.message())));
      }
    }
  }
  return absl::OkStatus();
}

std::function<absl::Status(const std::string &)> setString(std::string &out) {
  return [&out](const std::string &value) {
    out = value;
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string &)> setSwitch(bool &out) {
  return [&out](const std::string &) {
    out = true;
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string &)> appendString(std::vector<std::string> &out) {
  return [&out](const std::string &value) {
    out.push_back(value);
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string &)> setNumber(uint64_t &out, uint64_t least, uint64_t unit) {
  return [&out, least, unit](const std::string &value) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(value, &number) || number < least || number > UINT64_MAX / unit) {
      return absl::InvalidArgumentError(absl::StrCat("must be a whole number from ", least, " on"));
    }
    out = number * unit;
    return absl::OkStatus();
  };
}

std::function<absl::Status(const std::string &)> setOneOf(unsigned &out, std::vector<unsigned> allowed) {
  return [&out, allowed = std::move(allowed)](const std::string &value) {
    unsigned number = 0;
    if (absl::SimpleAtoi(value, &number) && std::find(allowed.begin(), allowed.end(), number) != allowed.end()) {
      out = number;
      return absl::OkStatus();
    }
    std::string list;
    for (unsigned choice : allowed) {
      absl::StrAppend(&list, list.empty() ? "" : ", ", choice);
    }
    return absl::InvalidArgumentError(absl::StrCat("must be one of ", list));
  };
}

} // namespace emoe
