"""Texts with a known language, from the message catalogues (.mo) of Debian packages.

What is true of the data:
  * Fetched with `apt-get download` at training time and never committed; each package's licence is in its
    /usr/share/doc/PACKAGE/copyright (GPL-2+ or GPL-3+ for most, LGPL for the C library).
  * TRAIN and HELD_OUT are different packages, and a text that occurs in TRAIN is removed from HELD_OUT.
  * A text found under two languages belongs to none. Placeholders, markup, mnemonic marks and addresses are taken out.
"""

import gettext
import re
import subprocess
import unicodedata
from collections import defaultdict
from pathlib import Path

TRAIN = ["coreutils", "gettext", "git", "bash", "apt", "dpkg", "aptitude-common", "gnupg-l10n", "gimp-data", "evolution-common", "nautilus-data",
         "vlc-l10n", "inkscape", "audacity-data", "wesnoth-1.16-data"]
HELD_OUT = ["util-linux-locales", "pidgin-data", "gedit-common", "gramps", "libc-l10n", "gnucash-common"]
NAMES = {"ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
         "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
         "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
         "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
         "zh": "Chinese"}
SCRIPTS = {"ar": "ARABIC", "bg": "CYRILLIC", "el": "GREEK", "he": "HEBREW", "ja": "CJK HIRAGANA KATAKANA", "ko": "HANGUL", "ru": "CYRILLIC",
           "uk": "CYRILLIC", "zh": "CJK"}
MNEMONIC = re.compile(r"\([_&]\w\)|[_&~](?=\w)")
NOISE = re.compile(r"<[^>]*>|&\w+;|%\(\w+\)\w|%[-#0-9.*$']*[a-zA-Z%]|\$\{?[\w|.]+\}?|\{[^}]*\}|https?://\S+|\S+@\S+|\\[a-z]|(?<![\w-])--?[a-z][\w-]*|[|*=<>\[\]#\"`]")


def fetch(packages, folder):
    """Downloads and unpacks the packages that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = folder / package
        if target.exists():
            continue
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob(f"{package}_*.deb")), target], check=True)


def language_of(path):
    """The label of a locale folder, or None where it is a variant that would blur it."""
    locale = path.parent.parent.name
    if "@" in locale:
        return None
    base = locale.split("_")[0].split(".")[0]
    base = {"no": "nb"}.get(base, base)
    return base if base in NAMES else None


def clean(text):
    text = text.split("\x04")[-1].split("^")[-1]
    return " ".join(NOISE.sub(" ", MNEMONIC.sub("", text)).split())


def fits(text, language):
    """Enough letters, and mostly letters of the language's own script."""
    letters = [c for c in text if c.isalpha()]
    if len(letters) < (4 if language in ("ja", "zh", "ko") else 10) or len(letters) < 0.6 * len(text.replace(" ", "")):
        return False
    scripts = SCRIPTS.get(language, "LATIN").split()
    own = sum(unicodedata.name(c, "").split(" ")[0] in scripts for c in letters)
    if language == "ja" and not any("\u3040" <= c <= "\u30ff" for c in letters):
        return False
    return own >= 0.7 * len(letters)


def catalogue(path):
    with open(path, "rb") as file:
        try:
            entries = gettext.GNUTranslations(file)._catalog
        except (UnicodeDecodeError, OSError, ValueError):
            return
    for key, value in entries.items():
        key = key[0] if isinstance(key, tuple) else key
        if key and isinstance(value, str) and value != key:
            yield clean(key), clean(value)


def texts(packages, folder):
    """{language: set of texts}, each text under one language only."""
    owners = defaultdict(set)
    for package in packages:
        for path in (folder / package).rglob("*.mo"):
            language = language_of(path)
            if language is None or language == "en":
                continue
            for key, value in catalogue(path):
                if key != value and fits(value, language):
                    owners[value].add(language)
                if language in ("de", "fr") and fits(key, "en"):
                    owners[key].add("en")
    result = defaultdict(set)
    for text, languages in owners.items():
        if len(languages) == 1:
            result[next(iter(languages))].add(text)
    return result


def load(folder: Path):
    """(training texts, held-out texts), both {language: sorted list}."""
    fetch(TRAIN + HELD_OUT, folder)
    train, held = texts(TRAIN, folder), texts(HELD_OUT, folder)
    known = set().union(*train.values())
    return {k: sorted(v) for k, v in train.items()}, {k: sorted(v - known) for k, v in held.items()}
