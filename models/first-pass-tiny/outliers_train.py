"""Prompts from outside the domain, for training: the model learns to be unsure (uniform target) on them.

True of this file: none of its topics, attributes, places or templates is used by `outliers_eval`, so a figure measured there is
about prompts of another make. Near-misses (wrong attribute, unknown place, number out of range, unit that does not fit) are made
by breaking one part of an in-domain prompt. Made-up words stand for the words nobody listed.

Imported by generate.py; `outlier(rng, countries, units)` returns one prompt.
"""

import string

TOPICS = """music gardens trains cooking football chess history poetry winter dogs rivers bread painting robots dreams school
marriage taxes insurance electricity volcanoes bicycles coffee dentists democracy fashion glaciers horses islands jazz kitchens
libraries mountains neighbours oceans philosophy quilts rockets soldiers theatre universities vampires whales yoga zebras bridges
carpets deserts elephants forests gravity honey ink jewellery knives lamps magnets needles olives pianos queens roads shoes tigers
umbrellas violins windows bacteria cells dragons engines friendship grief hope inflation justice kindness love memory noise opera
pollution recycling salt tea unemployment vaccines water youth the moon the sun space travel my dog my job my garden climate
machine learning the stock market football rules ancient Rome the French revolution quantum physics black holes wedding speeches
public transport solar panels house prices healthy breakfasts time zones prime numbers long division geometry algebra""".split()
ATTRIBUTES = """population currency president area flag anthem language history climate religion king queen weather temperature economy
largest city highest mountain longest river national dish prime minister official language time zone calling code gdp inflation rate
coastline size location government national animal football team army coat of arms neighbours second city biggest airport
oldest university constitution unemployment rate literacy rate main export border internet domain""".split()
PHRASES = ["largest city", "highest mountain", "longest river", "national dish", "prime minister", "official language", "time zone",
           "calling code", "national animal", "football team", "coat of arms", "second city", "biggest airport", "oldest university",
           "former capital", "old capital", "capital gains tax", "capital letters", "capital punishment", "number of cities", "main export"]
PLACES = """Narnia Gotham Mordor Hogwarts Neverland Wonderland Camelot Texas Bavaria Scotland Paris Berlin London Tokyo Rome Madrid
Africa Europe Asia Mars Jupiter California Ontario Quebec Brittany Sicily Tuscany Siberia Nauru Tuvalu Kiribati Tonga Samoa Andorra
Belize Benin Burundi Chad Djibouti Eritrea Gabon Gambia Guyana Lesotho Malawi Togo Suriname Bhutan Brunei Liechtenstein Krypton
Lilliput Genovia Oz bananas cheese music love football the moon my company the world history Catalonia Kent Florida Ohio""".split()
TASKS = ["write {k} about {t}", "write me {k} on {t}", "explain {t}", "explain how {t} works", "summarise this text about {t}", "what is {t}",
         "tell me about {t}", "who invented {t}", "why do people like {t}", "how do I learn about {t}", "give me ideas for {t}", "what is the best {t}",
         "translate {t} into {l}", "is {t} good for you", "compare {t} and {u}", "what is the difference between {t} and {u}", "list ten facts about {t}",
         "how much is {t}", "how many {t} are there", "where can I buy {t}", "when was {t} discovered", "name a famous book on {t}", "{t}", "{t} and {u}",
         "do you know {t}", "can you tell me {t}", "i want to know about {t}", "read the file {t} and tell me what it says about {u}",
         "the {t} of {u}", "calculate the cost of {t}", "draw {t}", "what do you think about {t}", "tell me a joke about {t}", "convert {t} to {u}",
         "make a plan for {t}", "what does {t} mean", "which {t} is the biggest", "name the {t} of {u}", "give me the {t}", "add {t} to my list"]
KINDS = ["an essay", "a poem", "a story", "a letter", "a report", "a song", "a speech", "two pages", "a short text", "a blog post"]
LANGUAGES = ["German", "French", "Spanish", "Latin", "Chinese"]
CODE = ["write a python function that sorts {t}", "def {t}({u}): return None", "how do I fix this bug in {t}.c", "SELECT * FROM {t} WHERE {u} = {n}",
        "for i in range({n}): print(i)", "int main() {{ return {n}; }}", "git commit -m \"{t}\"", "const {t} = {n} + {m};", "refactor the class {t}",
        "import {t}", "<html><body>{t}</body></html>", "{{\"{t}\": {n}}}", "ls -la /home/{t}", "why does {t} throw an exception on line {n}", "x = {n} + y"]
TALK = ["how are you", "what is your name", "who are you", "hello", "hi there", "thanks", "goodbye", "good night", "tell me a joke", "are you human",
        "what can you do", "i am tired", "i am bored today", "you are wrong", "that is not right", "do you like me", "what time is it", "help me",
        "what day is it", "sing a song", "let us play a game", "my name is {t}", "see you tomorrow", "what should i eat", "never mind", "yes", "no", "why"]
FOREIGN = ["was ist die hauptstadt von {c}", "wie viel ist {n} plus {m}", "wie geht es dir", "schreibe einen brief über {t}", "ich habe eine frage zu {t}",
           "quelle est la capitale de {c}", "combien font {n} et {m}", "bonjour, comment allez-vous", "écris une lettre sur {t}", "où est la gare",
           "cuál es la capital de {c}", "cuánto es {n} más {m}", "hola, qué tal", "dónde está la biblioteca", "escribe un poema sobre {t}",
           "qual è la capitale di {c}", "quanto fa {n} per {m}", "buongiorno a tutti", "ποια είναι η πρωτεύουσα", "καλημέρα", "프랑스의 수도는 어디입니까",
           "ما هي عاصمة فرنسا", "mikä on {c} pääkaupunki", "ce este {t}", "hvad hedder du", "jak se máš", "नमस्ते दुनिया", "你好", "今天天气怎么样"]
WORD_PROBLEMS = ["{w} has {n} apples and gives {m} to a friend, how many are left", "a train goes {n} km in {m} hours, how fast is it",
                 "if a book costs {n} euros, what do {m} books cost", "{w} is {n} years old and her brother is {m} years younger, how old is he",
                 "there are {n} birds on a tree and {m} fly away", "a box holds {n} eggs, how many boxes for {m} eggs", "what is {n} percent of {m}",
                 "i had {n} coins, lost {m} and found {k}", "which is larger, {n} or {m}", "is {n} a prime number", "is {n} + {m} even",
                 "count from {n} to {m}", "why is {n} + {m} not {k}", "what comes after {n}, {m}, {k}", "write {n} in words", "average of {n} and {m}"]
BIG_FORMS = ["what is {a} {o} {b}", "{a} {o} {b}", "{a}{o}{b}", "calculate {a} {o} {b}", "how much is {a} {o} {b}", "{a} {o} {b} =", "tell me {a} {o} {b}"]
OPERATORS = ["+", "-", "*", "x", "plus", "minus", "times"]
OTHER_OPERATORS = ["/", "divided by", "modulo", "^", "to the power of", "percent of", "over", "and", "or", "&", "%", ">", "<", "=", "mod"]
OTHER_UNITS = ["miles", "celsius", "fahrenheit", "dollars", "euros", "joules", "volts", "bytes", "megabytes", "acres", "lightyears", "cups", "spoons", "watts"]
ONSETS, VOWELS, CODAS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr pl sh st th tr".split(), "a e i o u ai ea oo ou".split(), ["", "", "n", "r", "s", "l", "t", "m", "ck", "nd", "ng"]


def made_up(rng):
    """A word that looks pronounceable and means nothing."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))


def topic(rng):
    return made_up(rng) if rng.random() < 0.45 else rng.choice(TOPICS)


def fill(rng, template, countries):
    number = lambda: str(rng.randint(0, 99) if rng.random() < 0.7 else rng.randint(100, 9999))
    return template.format(t=topic(rng), u=topic(rng), k=rng.choice(KINDS) if "{t}" in template else number(), l=rng.choice(LANGUAGES),
                           n=number(), m=number(), c=rng.choice(countries), w=made_up(rng).capitalize())


def near_capital(rng, countries):
    """A wrong attribute of a right country, or the capital of a place that is not in the table."""
    attribute = rng.choice([rng.choice(ATTRIBUTES), rng.choice(PHRASES), made_up(rng), rng.choice(TOPICS)])
    place = rng.choice(countries)
    if rng.random() < 0.4:
        attribute, place = rng.choice(["capital", "capital city"]), rng.choice([rng.choice(PLACES), made_up(rng).capitalize()])
        if rng.random() < 0.15:
            place = rng.choice(countries) + " " + rng.choice(["and ", "or "]) + rng.choice(countries)
    form = rng.choice(["what is the {a} of {c}", "what's the {a} of {c}", "{a} of {c}", "{c}'s {a}", "tell me the {a} of {c}", "{c} {a}", "{a} in {c}",
                       "what is {c}'s {a}", "name the {a} of {c}", "how big is the {a} of {c}", "which city is the {a} of {c}", "{c}",
                       "what is the {a} like in {c}", "why is {c} the {a}", "is {c} a {a}", "the {a} of {c} is", "give me the {a} of {c}",
                       "when did the capital of {c} become the {a}", "what is the {a} of the capital of {c}", "hotels in the capital of {c}"])
    if attribute.startswith("capital") and form == "{c}":
        form = "{a} of {c}"
    return form.format(a=attribute, c=place)


def near_number(rng):
    """Arithmetic that the domain does not have: too big, negative, fractional, three terms, another operation."""
    small, big = lambda: rng.randint(0, 99), lambda: rng.randint(100, 10 ** rng.randint(3, 7))
    a, b, o = small(), small(), rng.choice(OPERATORS)
    way = rng.randrange(8)
    if way <= 1:
        a, b = rng.choice([(big(), small()), (small(), big()), (big(), big())])
    elif way == 2:
        a, b, o = min(a, b), max(a, b) + 1, rng.choice(["-", "minus", "-"])
        b = min(b, 99) if b > a else a + 1
        b = max(b, a + 1)
    elif way == 3:
        a = f"{a}.{rng.randint(0, 9)}"
    elif way == 4:
        b = f"{b} {rng.choice(OPERATORS)} {small()}"
    elif way == 5:
        a, b, o = rng.randint(13, 99), rng.randint(13, 99), rng.choice(["*", "x", "times"])
    elif way == 6:
        o = rng.choice(OTHER_OPERATORS)
    else:
        return rng.choice(["{a} squared", "square root of {a}", "{a} factorial", "log of {a}", "double {a}", "half of {a}", "{a}", "{a} {b}", "{a},{b}",
                           "sin({a})", "{a} + x = {b}", "what is {a}", "{a} + ", "the year {a}{b}", "{b} +", "multiply {a}", "what is the number {a}"]).format(a=a, b=b)
    return rng.choice(BIG_FORMS).format(a=a, b=b, o=o)


def near_unit(rng, units):
    """A conversion that cannot be, or is not in the table, or whose value is out of range."""
    source, target = rng.choice(units), rng.choice(units)
    fr, to, v = rng.choice(source[0]), rng.choice(target[1]), rng.randint(2, 99)
    way = rng.randrange(4)
    if way == 0 or target[1] == source[1]:
        to = rng.choice([rng.choice(OTHER_UNITS), made_up(rng)])
    elif way == 1:
        fr = rng.choice([rng.choice(OTHER_UNITS), made_up(rng)])
    elif way == 2:
        to, v = rng.choice(source[1]), rng.choice([rng.randint(200, 99999), f"{v}.{rng.randint(1, 9)}"])
    return rng.choice(["how many {to} are {v} {fr}", "how many {to} in {v} {fr}", "convert {v} {fr} to {to}", "{v} {fr} in {to}",
                       "what is {v} {fr} in {to}", "how long is {v} {fr}", "{v} {fr}", "how many {to} are in {v} {fr}"]).format(to=to, fr=fr, v=v)


def salad(rng, words):
    """Words of the file and made-up ones in any order; the long ones stand for documents."""
    pieces = [rng.choice([made_up(rng), rng.choice(TOPICS), rng.choice(ATTRIBUTES), rng.choice(["the", "of", "and", "in", "is", "a", "to", "for", "with", "what", "how"])])
              for _ in range(words)]
    return rng.choice([" ", " ", ", "]).join(pieces)


def noise(rng):
    low, high = rng.choice([(33, 126), (33, 126), (0xC0, 0x17F), (0x400, 0x44F), (0x370, 0x3FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x600, 0x6FF), (0x1F300, 0x1F600)])
    if rng.random() < 0.3:
        return "".join(rng.choice(string.ascii_letters + "  ") for _ in range(rng.randint(1, 30)))
    return "".join(chr(rng.randint(low, high)) if rng.random() > 0.15 else " " for _ in range(rng.randint(1, 12)))


def outlier(rng, countries, units):
    """One prompt from outside the domain."""
    kind = rng.choices(["capital", "number", "unit", "task", "code", "talk", "foreign", "problem", "salad", "long", "noise", "suffix"],
                       [22, 20, 9, 16, 4, 3, 6, 7, 5, 1, 3, 4])[0]
    if kind == "capital":
        return near_capital(rng, countries)
    if kind == "number":
        return near_number(rng)
    if kind == "unit":
        return near_unit(rng, units)
    if kind == "salad":
        return salad(rng, rng.randint(1, 12))
    if kind == "long":
        return ". ".join(salad(rng, rng.randint(5, 12)) for _ in range(rng.randint(2, 4)))
    if kind == "noise":
        return noise(rng)
    if kind == "suffix":
        inner = rng.choice([near_capital(rng, countries), near_number(rng), f"{rng.randint(0, 99)} + {rng.randint(0, 99)}", f"the capital of {rng.choice(countries)}"])
        return rng.choice(["{t} {i} {u}", "write {k} about {i}", "{i} and {t}", "{i} because {t} {u}", "explain why {t} {i}", "{i} in {t} {u}"]).format(
            t=topic(rng), u=topic(rng), k=rng.choice(KINDS), i=inner)
    pool = {"task": TASKS, "code": CODE, "talk": TALK, "foreign": FOREIGN, "problem": WORD_PROBLEMS}[kind]
    return fill(rng, rng.choice(pool), countries)
