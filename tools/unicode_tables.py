#!/usr/bin/env python3
"""Writes compiler/tokenizer/unicode_data.inc from Python's unicodedata: run it to move to another Unicode version.

Categories: runs of code points with one general category, each a letter (the category's place in kCategoryNames)
and the run's length in base 36 (left out for 1). Decompositions and combining classes: numbers in base 36, separated
by spaces; code points as differences to the entry before.
"""
import os
import sys
import unicodedata

NAMES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%"


def base36(number):
    digits = ""
    while number or not digits:
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[number % 36] + digits
        number //= 36
    return digits


def categories():
    out, begin = "", 0
    for code in range(1, 0x110001):
        if code == 0x110000 or unicodedata.category(chr(code)) != unicodedata.category(chr(begin)):
            name = unicodedata.category(chr(begin))
            length = code - begin
            out += LETTERS[NAMES.index(name)] + (base36(length) if length > 1 else "")
            begin = code
    return out


def decompositions():
    """Canonical, one step: code (difference), first, second (0: none), 1 if it is excluded from composition."""
    out, last = [], 0
    for code in range(0x110000):
        text = unicodedata.decomposition(chr(code))
        if not text or text.startswith("<"):
            continue
        parts = [int(part, 16) for part in text.split()] + [0]
        excluded = unicodedata.normalize("NFC", chr(code)) != chr(code)
        out += [base36(code - last), base36(parts[0]), base36(parts[1]), "1" if excluded else "0"]
        last = code
    return " ".join(out)


def combining():
    """Ranges of one combining class: first (difference), length, class."""
    out, last, code = [], 0, 0
    while code < 0x110000:
        combining_class = unicodedata.combining(chr(code))
        if not combining_class:
            code += 1
            continue
        begin = code
        while code < 0x110000 and unicodedata.combining(chr(code)) == combining_class:
            code += 1
        out += [base36(begin - last), base36(code - begin), base36(combining_class)]
        last = begin
    return " ".join(out)


def literal(text):
    return "\n".join('    "%s"' % text[i:i + 108] for i in range(0, len(text), 108))


def main():
    path = os.path.join(os.path.dirname(__file__), "..", "compiler", "tokenizer", "unicode_data.inc")
    with open(path, "w", encoding="ascii") as file:
        file.write("// Unicode %s, by tools/unicode_tables.py, which explains the encoding.\n" % unicodedata.unidata_version)
        file.write('static const char kUnicodeVersion[] = "%s";\n' % unicodedata.unidata_version)
        for name, text in (("kCategories", categories()), ("kDecompositionData", decompositions()),
                           ("kCombiningData", combining())):
            file.write("static const char %s[] =\n%s;\n" % (name, literal(text)))
    print("%s: Unicode %s, %d bytes" % (path, unicodedata.unidata_version, os.path.getsize(path)))


if __name__ == "__main__":
    sys.exit(main())
