// emoe-rt: run, measure and look at bundles.
#include "tools/emoe-rt/flags.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/verbs.h"

namespace emoe::rt {

const Verb kVerbs[] = {
    {"run", "BUNDLE", "generate text",
     "  emoe-rt run model.emoe --memory-budget 512M --prompt 'Once upon a time' -n 64\n"
     "  echo 'Dear sir' | emoe-rt run model.emoe --temp 0 --stats\n", 1, RunVerb},
    {"logits", "BUNDLE", "write the logits of every token of a sequence",
     "  emoe-rt logits model.emoe --tokens ids.txt -o logits.npy\n"
     "  emoe-rt logits model.emoe --tokens ids.txt -o logits.npy --isa x86-64\n", 2, LogitsVerb},
    {"eval", "BUNDLE", "measure the perplexity of texts",
     "  emoe-rt eval model.emoe --text a.txt b.txt --json\n"
     "  emoe-rt eval model.emoe --text book.txt --window 256 --memory-budget 1G\n", 4, EvalVerb},
    {"tokenize", "BUNDLE", "print the token ids of a text",
     "  emoe-rt tokenize model.emoe --prompt 'Hello'\n"
     "  emoe-rt tokenize tokenizer.emoe --prompt-file a.txt --no-bos --json\n", 8, TokenizeVerb},
    {"inspect", "BUNDLE", "say what a bundle holds",
     "  emoe-rt inspect model.emoe\n  emoe-rt inspect model.emoe --json\n", 16, InspectVerb},
    {"verify", "BUNDLE", "check every byte of a bundle",
     "  emoe-rt verify model.emoe\n  emoe-rt verify model.emoe --json\n", 32, VerifyVerb},
    {"plan", "BUNDLE", "say how much memory a bundle needs",
     "  emoe-rt plan model.emoe --json\n  emoe-rt plan model.emoe --memory-budget 512M --ctx 4096\n", 64, PlanVerb},
    {"bench", "BUNDLE", "measure the speed of prompts and of generation",
     "  emoe-rt bench model.emoe --memory-budget 512M\n"
     "  emoe-rt bench model.emoe -p 512 -n 64 -r 5 --json\n", 128, BenchVerb},
    {"version", "", "say which emoe-rt this is", "  emoe-rt version\n  emoe-rt version --json\n", 256, VersionVerb},
    {nullptr, nullptr, nullptr, nullptr, 0, nullptr}};

}  // namespace emoe::rt

int main(int argc, char **argv) {
  static emoe::rt::Options options;
  const emoe::rt::Verb *verb = nullptr;
  int code = emoe::rt::ParseCommandLine(argc, argv, &options, &verb);
  if (code >= 0) return code;
  emoe::rt::CatchInterrupts();
  return verb->run(options);
}
