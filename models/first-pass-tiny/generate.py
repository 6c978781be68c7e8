"""The domain of first-pass-tiny, as rules that generate its data.

What is true of the data:
  * Three families are inside: arithmetic (`+`, `-` on 0..99 with a result >= 0, the times table 0..12),
    unit conversion (the table UNITS), capitals (capitals.tsv). Every answer is computed, never written by hand.
  * Split by number: one unordered pair of addends in ten, one pair (minuend, subtrahend) in ten and one value in
    ten of each decimal unit never occur in training.
  * Split by phrasing: a frame is an opener and a noun or clause; one combination in seven (HELD_*) never occurs in training,
    though its parts do. Times tables, non-decimal units and capitals are facts: a held-out prompt asks a known fact in an
    unseen combination. Frames with words training never shows (NEW_WORDS) are a stress test, reported apart.
  * Everything follows from the seed; there is no file of prompts to lose.

Run: python generate.py            prints a sample of every family
     python generate.py --write    also writes heldout.jsonl and outliers.jsonl, the evaluation sets
"""

import argparse
import json
import random
from pathlib import Path

import outliers_eval
import outliers_train

HERE = Path(__file__).parent
MAX_TERM = 99
MAX_FACTOR = 12

# === arithmetic ===
SUM = ["{a} + {b}", "{a} + {b}", "{a}+{b}", "{a} plus {b}", "the sum of {a} and {b}"]
DIFFERENCE = ["{a} - {b}", "{a} - {b}", "{a}-{b}", "{a} minus {b}", "the difference between {a} and {b}"]
PRODUCT = ["{a} * {b}", "{a} x {b}", "{a}*{b}", "{a} times {b}", "the product of {a} and {b}", "{a} × {b}"]
ORDER_SUM = ["add {a} and {b}", "add {b} to {a}"]
ORDER_DIFFERENCE = ["subtract {b} from {a}", "take {b} away from {a}"]
ORDER_PRODUCT = ["multiply {a} by {b}", "multiply {a} and {b}"]
FRAMES = ["what is {e}", "what is {e}", "what's {e}", "{e}", "{e}", "{e} =", "calculate {e}", "compute {e}", "how much is {e}",
          "work out {e}", "solve {e}", "{e} equals", "{e} is", "{e} makes", "{e} gives", "what does {e} make", "what does {e} equal",
          "what do you get for {e}", "can you calculate {e}", "could you work out {e}", "please compute {e}", "can you solve {e}", "i want to know {e}"]
RESULTS = ["{e}", "the result of {e}", "the answer to {e}", "the value of {e}"]
RESULT_CLAUSES = ["what {e} is", "how much {e} is", "what {e} makes", "what the result of {e} is"]

# === units: (names of from, names of to, symbol of to, factor, largest value) ===
UNITS = [
    (["km", "kilometres", "kilometers"], ["m", "metres", "meters"], "m", 1000, 99),
    (["m", "metres", "meters"], ["cm", "centimetres", "centimeters"], "cm", 100, 99),
    (["cm", "centimetres", "centimeters"], ["mm", "millimetres", "millimeters"], "mm", 10, 99),
    (["kg", "kilograms", "kilos"], ["g", "grams"], "g", 1000, 99),
    (["tonnes", "tons"], ["kg", "kilograms"], "kg", 1000, 99),
    (["litres", "liters"], ["ml", "millilitres", "milliliters"], "ml", 1000, 99),
    (["hours", "h"], ["minutes", "min"], "min", 60, 24),
    (["minutes", "min"], ["seconds", "s"], "s", 60, 24),
    (["days"], ["hours", "h"], "h", 24, 12),
    (["weeks"], ["days"], "days", 7, 20),
    (["years"], ["months"], "months", 12, 20),
    (["feet", "ft"], ["inches", "in"], "in", 12, 20),
    (["yards", "yd"], ["feet", "ft"], "ft", 3, 30),
]
CONVERSIONS = ["how many {to} are {v} {fr}", "how many {to} are in {v} {fr}", "how many {to} in {v} {fr}", "{v} {fr} in {to}", "{v} {fr} to {to}",
               "convert {v} {fr} to {to}", "what is {v} {fr} in {to}", "how much is {v} {fr} in {to}", "{v} {fr} is how many {to}", "how many {to} is {v} {fr}"]
AMOUNTS = ["{v} {fr} in {to}", "the number of {to} in {v} {fr}"]
AMOUNT_CLAUSES = ["how many {to} are in {v} {fr}", "how many {to} {v} {fr} are", "how many {to} are {v} {fr}", "what {v} {fr} is in {to}"]
ORDERS = [f"{start}{verb} {{v}} {{fr}} {link} {{to}}" for start in ["", "please ", "can you ", "could you ", "would you ", "i want to ", "help me "]
          for verb in ["convert", "change", "turn"] for link in ["to", "into"]]

# === capitals ===
CAPITALS = ["what is the capital of {c}", "what is the capital of {c}", "what's the capital of {c}", "capital of {c}", "the capital of {c}", "{c} capital",
            "{p} capital", "capital city of {c}", "{c}: capital", "capital {c}", "the capital of {c} is", "{p} capital is", "the capital city of {c} is called",
            "what do you call the capital of {c}", "what is the capital of {c} called", "i forgot the capital of {c}"]
TOWNS = ["the capital of {c}", "{p} capital", "the capital city of {c}", "{p} capital city", "the name of the capital of {c}", "the name of {p} capital"]
TOWN_CLAUSES = ["which city is {x}", "what city is {x}", "what {x} is", "which is {x}", "what {x} is called"]

# === requests: what people put around a thing (a noun) or an indirect question (a clause) ===
OPENERS = ["", "tell me ", "do you know ", "i want to know ", "can you tell me ", "could you tell me ", "please tell me ", "i need to know ", "let me know ",
           "i would like to know ", "would you tell me ", "can you say ", "i wonder ", "help me find out ", "do you happen to know ", "quick question: "]
NOUN_OPENERS = ["what is ", "what's ", "give me ", "show me ", "find ", "name ", "say ", "i need ", "can you give me ", "could you give me ", "please give me ",
                "i forgot ", "remind me of ", "i am looking for ", "look up ", "what would be "]
NEW_WORDS = {  # for the stress test: frames with words that training never shows in a frame
    "capitals": ["what city serves as the capital of {c}", "enlighten me about {p} capital", "which town holds the title of capital of {c}", "hit me with the capital of {c}"],
    "arithmetic": ["figure out {e}", "the total for {e} would be", "evaluate {e}", "if i type {e}, what comes out"]}


def combine(nouns, clauses, plain):
    """(training frames, held-out frames): every opener with every noun or clause; one combination in seven is held out.

    Plain frames are not held out, nor is what politeness (`dress`) could make of a training frame."""
    frames = [opener + noun for opener in OPENERS + NOUN_OPENERS for noun in nouns] + [opener + clause for opener in OPENERS for clause in clauses]
    held = [frame for frame in frames if random.Random(frame).random() < 1 / 7
            and frame not in plain and not frame.startswith("please ")]
    return [frame for frame in frames if frame not in held], held


MORE_RESULTS, HELD_RESULTS = combine(RESULTS, RESULT_CLAUSES, FRAMES)
MORE_AMOUNTS, HELD_AMOUNTS = combine(AMOUNTS, AMOUNT_CLAUSES, CONVERSIONS)
MORE_TOWNS, HELD_TOWNS = combine(TOWNS, [clause.format(x=town) for clause in TOWN_CLAUSES for town in TOWNS[:4]], CAPITALS)
HELD_ORDERS = [order for order in ORDERS[3::7] if not order.startswith("please ")]
MORE_ORDERS = [order for order in ORDERS if order not in HELD_ORDERS]

BEFORE = ["please ", "hi, ", "hello, ", "hey, ", "ok, ", "hello! ", "so ", "question: ", "good morning, ", "hi there, ", "well, ", "excuse me, ", "ok so ",
          "sorry, ", "one more: ", "my question: ", "hi! ", "and ", "now ", "good day! "]
AFTER = [" please", ", please", ", thanks", " thanks", " now", " for me", ", thank you", " right now", " exactly"]
HELD_BEFORE = ["hey there, ", "please, ", "ok, hello, ", "good morning! ", "well, hi, ", "sorry! "]


def dress(rng, text, held=False):
    """Politeness, case and punctuation: the small variations people type."""
    if rng.random() < 0.15:
        text = rng.choice(HELD_BEFORE if held else BEFORE) + text
    if rng.random() < 0.12:
        text += rng.choice(AFTER)
    text += rng.choices(["?", "", " ?", "."], [50, 40, 5, 5])[0]
    how = rng.random()
    if how < 0.45:
        return text[0].upper() + text[1:]
    return text.lower() if how < 0.85 else text


def is_held_number(kind, a, b):
    """A fixed tenth of the number pairs, the same in every process."""
    if kind == "sum":
        a, b = min(a, b), max(a, b)
    return random.Random(f"{kind}/{a}/{b}").random() < 0.1


def frame(rng, forms, orders, a, b, held):
    if held:
        return rng.choice(HELD_RESULTS).format(e=rng.choice(forms).format(a=a, b=b))
    if rng.random() < 0.15:
        text = rng.choice(orders).format(a=a, b=b)
        return rng.choice(["", "", "can you ", "could you ", "please "]) + text
    return rng.choice(FRAMES if rng.random() < 0.55 else MORE_RESULTS).format(e=rng.choice(forms).format(a=a, b=b))


def add_or_subtract(rng, held):
    """Held out by number; half of the held-out prompts use an unseen phrasing too."""
    kind = rng.choice(["sum", "difference"])
    while True:
        a, b = rng.randint(0, MAX_TERM), rng.randint(0, MAX_TERM)
        if kind == "difference" and a < b:
            a, b = b, a
        if is_held_number(kind, a, b) == held:
            break
    new_frame = held and rng.random() < 0.5
    if kind == "sum":
        return frame(rng, SUM, ORDER_SUM, a, b, new_frame), str(a + b)
    return frame(rng, DIFFERENCE, ORDER_DIFFERENCE, a, b, new_frame), str(a - b)


def times(rng, held):
    a, b = rng.randint(0, MAX_FACTOR), rng.randint(0, MAX_FACTOR)
    return frame(rng, PRODUCT, ORDER_PRODUCT, a, b, held), str(a * b)


def convert(rng, held):
    while True:
        source, target, symbol, factor, largest = rng.choice(UNITS)
        value = rng.randint(2, largest)
        decimal = factor % 10 == 0 and largest == MAX_TERM
        if not decimal or is_held_number(f"x{factor}", value, 0) == held:
            break
    if held and (not decimal or rng.random() < 0.5):
        forms = rng.choice([HELD_AMOUNTS, HELD_ORDERS])
    else:
        forms = rng.choice([CONVERSIONS, CONVERSIONS, MORE_AMOUNTS, MORE_ORDERS])
    return rng.choice(forms).format(v=value, fr=rng.choice(source), to=rng.choice(target)), f"{value * factor} {symbol}"


def countries():
    """[(names, capital)]; a name that starts with `the ` keeps it inside a sentence only."""
    rows = (line.split("\t") for line in (HERE / "capitals.tsv").read_text().splitlines())
    return [(names.split("|"), capital) for names, capital in rows]


COUNTRIES = countries()


def capital(rng, held):
    names, answer = rng.choice(COUNTRIES)
    name = names[0] if rng.random() < 0.7 else rng.choice(names)
    form = rng.choice(HELD_TOWNS if held else CAPITALS if rng.random() < 0.45 else MORE_TOWNS)
    if form.startswith(("{c}", "capital {c}")):
        name = name.removeprefix("the ")
    return form.format(c=name, p=name + ("'" if name.endswith("s") else "'s")), answer


FAMILIES = {"arithmetic": (add_or_subtract, 48), "times": (times, 8), "units": (convert, 12), "capitals": (capital, 18)}
OUTLIER_WEIGHT = 24


def example(rng, family, held=False):
    """(prompt, answer) of one family."""
    prompt, answer = FAMILIES[family][0](rng, held)
    return dress(rng, prompt, held), answer


def training_example(rng):
    """(prompt, answer); the answer is None for an outlier, whose target is the uniform distribution."""
    names = list(FAMILIES) + ["outlier"]
    weights = [weight for _, weight in FAMILIES.values()] + [OUTLIER_WEIGHT]
    family = rng.choices(names, weights)[0]
    if family == "outlier":
        prompt = outliers_train.outlier(rng, [n for names, _ in COUNTRIES for n in names], UNITS)
        if rng.random() < 0.25 and len(prompt) < 60:
            prompt = rng.choice(OPENERS + NOUN_OPENERS) + prompt
        return (dress(rng, prompt) if prompt.strip() and rng.random() < 0.7 else prompt), None
    return example(rng, family)


def evaluation_sets(seed=20):
    """(held-out rows with family, prompt, answer; outlier rows with kind, prompt); no prompt twice."""
    rng = random.Random(seed)
    held, seen = [], set()
    for family, count in {"arithmetic": 200, "times": 60, "units": 100, "capitals": 240}.items():
        rows = 0
        while rows < count:
            prompt, answer = example(rng, family, held=True)
            if prompt not in seen:
                seen.add(prompt)
                held.append({"family": family, "prompt": prompt, "answer": answer})
                rows += 1
    for family, form in [(family, form) for family, forms in NEW_WORDS.items() for form in forms for _ in range(8)]:
        (names, town), (a, b) = rng.choice(COUNTRIES), (rng.randint(0, 99), rng.randint(0, 99))
        prompt = form.format(c=names[0], p=names[0] + ("'" if names[0].endswith("s") else "'s"), e=f"{a} + {b}")
        held.append({"family": f"new words, {family}", "prompt": dress(rng, prompt, True), "answer": town if family == "capitals" else str(a + b)})
    return held, outliers_eval.rows(rng, COUNTRIES, lambda text: dress(rng, text, held=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rng = random.Random(1)
    for _ in range(40):
        print(training_example(rng))
    held, outliers = evaluation_sets()
    print(len(held), "held-out prompts,", len(outliers), "outliers")
    if args.write:
        for name, rows in [("heldout.jsonl", held), ("outliers.jsonl", outliers)]:
            (HERE / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
