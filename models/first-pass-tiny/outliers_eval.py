"""Prompts from outside the domain, for evaluation only.

True of this file: its templates, topics, attributes and places are not those of `outliers_train` (`check_disjoint` fails
otherwise). Kinds from far (essays, code, other languages) to near (one word or number away from a prompt inside the domain).
The ordinary requests are written by hand; near-misses are filled from lists of their own.

Imported by generate.py; `rows(rng, countries, dress)` returns [{kind, prompt}].
"""

import outliers_train

WRITTEN = {
    "request": """Draft a cover letter for a position as a warehouse supervisor
Please proofread the attached contract and mark unclear clauses
Turn these meeting minutes into a to-do list with owners
Rewrite the paragraph below so that a ten year old understands it
What are the main findings of the quarterly audit?
Compose a thank-you note to my grandmother for the scarf
Outline a thesis chapter on medieval shipbuilding
Suggest a headline for an article about urban beekeeping
How should I apologise to a customer whose parcel got lost?
Describe the smell of rain to someone who has never felt it
Prepare talking points for tomorrow's interview with the mayor
Extract every invoice number from the scanned pages
Which arguments speak against daylight saving?
Give feedback on the tone of my resignation
Find contradictions between the two witness statements
Sketch a lesson about photosynthesis for twelve pupils
Is this review positive or negative: the soup was cold but the waiter was charming
Which language is this sentence written in?
Classify the following tickets by urgency
Paraphrase the abstract without using jargon
Create a packing checklist for a sailing trip
Why did the empire collapse so quickly after the emperor's death?
Recommend three novels set in Lisbon
What would happen if bees went extinct?
Who painted the ceiling of the Sistine Chapel?
How do vaccines teach the immune system?
When was the printing press built, and by whom?
Who wrote Hamlet?
Which planet has the most rings?
What is the boiling point of mercury?
What is the speed of light?
How tall is the Eiffel Tower?
Who won the world cup in 1998?
How many legs does a spider have?
What is the chemical symbol of gold?
Name the author of Don Quixote
How many players are on a cricket side?
What colour do you get from blue and yellow?
Who is the mayor of Vienna?
How many people live in Cairo?""",
    "code": """Implement a thread-safe LRU cache in Rust
My unit tests fail with a segmentation fault, what now?
fn add(left: u32, right: u32) -> u32 { left + right }
docker run --rm -it -p 8080:80 nginx
Convert this callback into async/await
awk '{ s += $2 } END { print s }' data.txt
What does the borrow checker complain about here?
let y = vec![4, 8, 15].iter().sum();
UPDATE users SET active = 0 WHERE last_login < '2020-01-01'
Explain big-O notation with an example
println!("{}", 17 + 25);
curl -X POST http://localhost/api -d '{"a": 3}'
Why is my regular expression greedy?
#include <stdio.h>
A merge conflict appeared in Cargo.lock, how do I resolve it?
lambda q: q * 2 + 1""",
    "talk": """Nice to meet you!
I had a dreadful morning
Do you ever sleep?
lol
That was quick, well done
Are you there?
Could we chat for a bit?
Oh dear
Where do you come from?
I think my cat hates me
Happy birthday!
What's up
Fine, and yourself?
Sorry, wrong window
Whatever
Good evening everyone
ok
great stuff mate
Can you keep a secret?
I'm cold""",
    "language": """Wat is de hoofdstad van Frankrijk?
Hoeveel is zeventien plus acht?
Qual é a capital de Portugal?
Quanto custa uma passagem para o Porto?
Vad heter huvudstaden i Norge?
Skriv en dikt om havet
Jakie miasto jest stolicą Polski?
Ile to jest 4 razy 8?
Какой город является столицей Германии?
Сколько будет 12 плюс 7?
Напиши рассказ о старом маяке
フランスの首都はどこですか
明日の会議の議事録を作ってください
Fransa'nın başkenti neresidir?
Mi Magyarország fővárosa?
Kiek bus du kart du?
Can I have das Wetter, bitte?
Könntest du mir beim Umzug helfen?
Pourriez-vous relire mon rapport de stage ?
¿Me recomiendas una película para esta noche?
Che tempo farà domani a Napoli?
מה שלומך היום
สวัสดีครับ
Kiel vi fartas?
Hva koster en kopp kaffe i Bergen?""",
    "word problem": """Maria buys 4 pens at 3 euros each and pays with a 20 euro note; what change does she get?
A tank is filled by two pipes in 6 and 9 minutes. How long do both need together?
Tom runs 12 laps of 400 metres. How far did he run?
The sum of three consecutive integers is 72, find them
A recipe for 4 people needs 300 g of flour. How much for 10 people?
Our team scored 17 goals in the first half and twice that in the second, how many overall?
If today is Tuesday, which weekday will it be in 100 days?
A rope 45 m long is cut into pieces of 5 m; how many cuts are made?
Half of the 28 pupils walk, 6 cycle and the rest take the bus. How many take the bus?
A shirt is reduced from 40 to 30 pounds, by how much per cent?
Ann is twice as old as Bob was when Ann was 12
Two dice are rolled. What is the probability that they show 7?
How many handshakes do 9 guests exchange?
The clock shows 10:45; what will it show 50 minutes later?
There were 63 sheep in the field until the wolf came. How many stayed?
A car uses 7 litres on 100 km. What does 250 km cost at 2 euros a litre?""",
    "long": """The committee met on Thursday to discuss the renovation of the swimming pool. Three offers had arrived, of which the cheapest was 98 thousand and the dearest nearly twice that. Please condense the debate into five sentences.
Dear sir or madam, I am writing to complain about the noise from the building site opposite, which starts at 6 and goes on until 10 in the evening. Could you reply on my behalf in a firm but friendly voice?
Once upon a time a fisherman lived with his wife in a hut close to the shore. Each morning he rowed out, and each evening he came home with empty nets. Continue in the same style.
I have attached two spreadsheets, one with the sales of each branch and one with the opening hours. Please check whether longer opening hours go together with higher sales and send me a chart.
Our landlord says that the deposit of 900 can only be paid back after 6 months although the contract says 3. Which paragraph of the tenancy act applies, and how should we answer him?
In the capital of the province the river floods every spring, and the people of the lower town carry their furniture upstairs. What does the author want to say with this image?
Given the log below, find out why the service restarts: 12:04 started, 12:05 ready, 12:09 out of memory, 12:09 killed, 12:10 started. Suggest a setting that would help.
My daughter is allergic to nuts and my father-in-law must not eat sugar, yet both love dessert. Plan a menu of three courses for Sunday that everybody at the table can share.""",
}
ATTRIBUTES = ["birth rate", "patron saint", "railway network", "average salary", "head of state", "minimum wage", "stock exchange", "nearest neighbour",
              "life expectancy", "driving side", "surface", "poorest region", "voting age", "opposition leader", "deepest lake", "colour of the passport",
              "most visited museum", "tallest building", "founding year", "economic capital", "cultural capital", "mayor", "port", "twin town"]
ATTRIBUTE_FORMS = ["what is the {a} of {c}", "{a} of {c}", "{p} {a}", "the {a} in {c}", "tell me the {a} of {c}", "look up {p} {a}"]
PLACES = ["Atlantis", "Wakanda", "Rohan", "Tatooine", "Arendelle", "Westeros", "Laputa", "El Dorado", "Zubrowka", "Sokovia", "Palau", "Vanuatu", "Comoros",
          "Maldives", "Seychelles", "Barbados", "Burkina Faso", "Cape Verde", "San Marino", "Turkmenistan", "Kyrgyzstan", "Wales", "Alaska", "Normandy",
          "Hokkaido", "Andalusia", "Saturn", "Antarctica", "Sydney", "Munich", "chocolate", "my heart", "the internet", "Middlesex", "Ruritania"]
PLACE_FORMS = ["what is the capital of {c}", "capital of {c}", "{p} capital", "which city is the capital of {c}", "what is the capital city of {c}"]
CITY_FORMS = ["weather in {k}", "flights from {k} to {l}", "how far is {k} from {l}", "which country is {k} in", "things to see in {k}", "is {k} nicer than {l}?",
              "how old is {k}", "who governs {c}", "did {c} ever have another capital", "what is {c} famous for", "travel advice for {c}", "cheap hotels, {k}",
              "{k} is the capital of which country", "was {k} always the capital of {c}", "spell the capital of {c} backwards", "how many letters has the capital of {c}"]
NUMBER_FORMS = ["what is {x} * {y}", "{x} plus {y}", "how much is {x} minus {y}", "{x} times {y}", "compute {x} + {y}", "{x}-{y}"]
OTHER_NUMBERS = ["{a} cubed", "the cube root of {a}", "{a} mod {b}", "{a} choose {b}", "greatest common divisor of {a} and {b}", "{a} : {b}", "{a} / {b}", "{a} ÷ {b}",
                 "what is a third of {a}", "round {x} to the nearest thousand", "is {a} divisible by {b}", "{a} in binary", "({a} + {b}) * {d}", "{a} + {b} - {d}",
                 "the digits of {x}", "ln {a}", "{a} in roman numerals", "how many times does {b} fit into {a}", "{a}! - {b}", "-{a} + -{b}", "{a} ** {b}", "{a},5 + {b}"]
UNIT_ROWS = ["how many knots are {a} km", "convert {a} stone to kg", "{a} kelvin in degrees", "how many kg are {a} hours", "how many metres are {a} minutes",
             "{a} furlongs in inches", "convert {a} pints to litres", "how many yen are {a} pounds", "{a} hectares in square metres", "how many fortnights are {a} years",
             "how many grams are {a} metres", "{a} bar to pascal", "convert {a} feet to litres", "how many seconds are {a} kg", "{a} nautical leagues in yards",
             "how many inches are {a} hours", "{a} calories in kilojoules", "how many days are {a} grams", "what is {a} horsepower in kilowatts", "how many km are {x} light minutes"]


def check_disjoint():
    """No topic, attribute or place of the training outliers is used here."""
    ours = {word.lower() for word in ATTRIBUTES + PLACES}
    theirs = {word.lower() for word in outliers_train.ATTRIBUTES + outliers_train.PHRASES + outliers_train.PLACES + outliers_train.TOPICS}
    assert not ours & theirs, ours & theirs
    written = {line.lower() for lines in WRITTEN.values() for line in lines.split("\n")}
    assert not written & {t.lower() for t in outliers_train.TASKS + outliers_train.CODE + outliers_train.TALK + outliers_train.FOREIGN}


def possessive(name):
    return name + ("'" if name.endswith("s") else "'s")


def rows(rng, countries, dress):
    """Every written prompt once, and a fixed number of each near-miss."""
    check_disjoint()
    result = [{"kind": kind, "prompt": line} for kind, lines in WRITTEN.items() for line in lines.split("\n")]

    def near(kind, count, forms, values):
        prompts = set()
        while len(prompts) < count:
            prompts.add(dress(rng.choice(forms).format(**values())))
        result.extend({"kind": kind, "prompt": prompt} for prompt in sorted(prompts))

    def of_country():
        (names, k), (_, l) = rng.choice(countries), rng.choice(countries)
        return {"a": rng.choice(ATTRIBUTES), "c": names[0], "p": possessive(names[0]), "k": k, "l": l}

    def of_place():
        place = rng.choice(PLACES)
        return {"c": place, "p": possessive(place)}

    def numbers():
        x, y = rng.choice([(rng.randint(100, 9999999), rng.randint(100, 99999)), (rng.randint(1000, 99999), rng.randint(2, 99)), (rng.randint(2, 99), rng.randint(120, 9999))])
        return {"a": rng.randint(2, 99), "b": rng.randint(2, 99), "d": rng.randint(2, 99), "x": x, "y": y}

    near("wrong attribute", 60, ATTRIBUTE_FORMS, of_country)
    near("unknown place", 60, PLACE_FORMS, of_place)
    near("city or country", 40, CITY_FORMS, of_country)
    near("number out of range", 60, NUMBER_FORMS, numbers)
    near("other operation", 40, OTHER_NUMBERS, numbers)
    near("other unit", 40, UNIT_ROWS, numbers)
    return result
