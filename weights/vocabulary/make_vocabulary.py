"""Makes english.txt from SCOWL 2020.12.07 (Debian's package `scowl`): python make_vocabulary.py /usr/share/dict/scowl

SCOWL's sizes 10 and 20 are the commonest English words. Kept are those of three letters or more in lower case that aren't a
regular inflection of another word (plurals, -ed, -ing, -er, -est) or an adverb in -ly: what is left are mostly things, qualities and
verbs in their base form.
"""

import pathlib
import re
import sys

HEADER = """\
# English words, for `heatlens concepts suggest --vocabulary`. Made by make_vocabulary.py from SCOWL 2020.12.07, sizes 10 and 20.
# SCOWL is copyright 2000-2018 by Kevin Atkinson; COPYRIGHT beside this file holds its permission notice, which copies must keep.
"""
ENDINGS = {"s": ("",), "es": ("",), "ies": ("y",), "ings": ("", "e")}
ENDINGS |= {ending: ("", "e") for ending in ("ed", "ing", "er", "ers", "est")}
ENDINGS |= {ending: ("y",) for ending in ("ied", "ier", "iest")}


def words(folder, size):
    """The plain words of one size, in British and American spelling alike or in American."""
    files = [folder / f"{list_}-words.{size}" for list_ in ("english", "american")]
    found = {word for file in files for word in file.read_text("latin-1").split("\n")}
    return {word for word in found if re.fullmatch("[a-z]{3,}", word)}


def bases(word):
    """What `word` would be a regular inflection of."""
    for ending, replacements in ENDINGS.items():
        stem = word.removesuffix(ending)
        if stem != word and not word.endswith("ss"):
            yield from (stem + replacement for replacement in replacements)
            if len(stem) > 3 and stem[-1] == stem[-2]:
                yield stem[:-1]


def main():
    folder = pathlib.Path(sys.argv[1])
    common = words(folder, 10) | words(folder, 20)
    known = common | words(folder, 35)
    kept = sorted(w for w in common if not w.endswith("ly") and not any(len(b) >= 3 and b in known for b in bases(w)))
    pathlib.Path(__file__).with_name("english.txt").write_text(HEADER + "\n".join(kept) + "\n")
    print(f"{len(kept)} words")


if __name__ == "__main__":
    main()
