"""Labelled sentences, made from word lists and templates; nothing is quoted from anywhere.

What is true of the data:
  * Polar words: VADER's lexicon (English, package vaderSentiment, MIT, Hutto and Gilbert 2014), read at training time, and
    `lexicon.tsv` (English reviews and complaints, German, French, Spanish), written for this project.
  * A polar sentence is a neutral clause with polar words in it, so that every neutral word occurs with every label.
  * A negated polar word has the other label; "not bad" is positive, "not good" negative. Intensifiers keep the label.
  * A neutral sentence has no polar word at all. With any label, many neutral words are made up: what is not known says nothing. Half of them are shuffled word by word: what matters are words, not templates.
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ["en", "de", "fr", "es"]
SYLLABLES = "ba de ki lo mu ran sel tor vin pa che dri flo gen hal jun kes mar nio per qui rus sta tem und ver wil zen an er in on ch".split()
FUNCTION = {
    "en": "the a an of to in on at for with from by and or but if when is are was were has have had will would can be been it he she they we you i my your "
          "his her our their this that these there as into over between about after before during until new old first last two three some any all each".split(),
    "de": "der die das ein eine einen dem den des und oder aber in im auf an am mit von vom bis zu zum ist sind war hat haben wird werden ich er sie wir ihr es "
          "mein unser dieser nach vor über unter zwischen seit ende neue alte".split(),
    "fr": "le la les un une des du de et ou mais dans sur à au aux avec par pour est sont était a ont sera je il elle nous vous ils mon notre ce cette qui que "
          "depuis après avant entre nouveau premier les".split(),
    "es": "el la los las un una unos de del y o pero en con por para es son está estaba ha han será yo él ella nosotros ellos mi nuestro este esta que desde "
          "después antes entre hasta nuevo primer".split(),
}
OTHER = {"positive": "negative", "negative": "positive"}
SHARES = {"en": 0.64, "de": 0.12, "fr": 0.12, "es": 0.12}
SLOTS = {
    "en": {
        "thing": "room hotel meal soup bread phone battery screen laptop film book novel song concert garden chair table sofa bike car bus train flight "
                 "parcel package order letter email report shop store restaurant waiter driver doctor nurse teacher staff team service support delivery "
                 "price quality update app website software camera drill lamp shoes jacket dress coat cable printer manual instructions lesson course "
                 "trip tour guide museum city village beach weather morning evening winter summer week year day time neighbour brother sister mother "
                 "father daughter son friend dog cat house kitchen bathroom bed company bank office meeting result design colour sound picture story "
                 "ending actor game player match medicine treatment application technician plumber product machine vase children water food coffee tea".split(),
        "verb": "moved opened closed ordered bought used read wrote sent received delivered printed signed parked visited called asked answered put took "
                "brought placed installed turned painted carried measured checked found kept sold rented booked changed started left".split(),
        "place": "in the kitchen|at the station|behind the library|on the second floor|near the river|in Chicago|at home|in the office|under the table|"
                 "on the corner|in our town|at the airport|across the street|next to the church|in the hall|by the sea|over the bridge|at the garage".split("|"),
        "when": "yesterday|last week|on Monday|on Thursday|at nine o'clock|in March|in 1987|this morning|tomorrow|after lunch|every day|for two weeks|"
                "three years ago|since May|in the afternoon|on 5 March|tonight|twice a year|before noon|all night|within an hour|on the first day".split("|"),
        "neutral": "The {thing} is {place}.|The {thing} has {n} parts and {n} pages.|I {verb} the {thing} {when}.|We {verb} the {thing} {place} {when}.|"
                   "The {thing} and the {thing} are {place}.|Please send the {thing} to the address below.|The {thing} opens at {n} and closes at {n}.|"
                   "My {thing} lives {place} with two others.|The {thing} was {verb} {when}.|There are {n} {thing} {place}.|Press the button to start the {thing}.|"
                   "The {thing} is {n} metres long and made of wood.|Could you tell me when the {thing} opens?|You will find the {thing} {place}.|"
                   "The {thing} consists of {n} members.|It {verb} {n} of them {when}.|She {verb} the {thing} because he works {place}.|"
                   "Turn left and follow the road to the {thing}.|Add {n} eggs and stir for {n} minutes.|The number is on top of the {thing}.|"
                   "The {thing} is available in black, blue and grey.|They were {verb} {when} and {verb} {when}.|Attached is the {thing} of {when}.|"
                   "It is {when}.|He has a {thing} and {n} {thing}.|This part deals with the {thing}.|I will call you {when}.|"
                   "The second {thing} contains {n} cables and a {thing}.|It has been in use {when}.|Who {verb} the {thing} {when}?|"
                   "Temperatures are around {n} degrees {when}.|The book was translated into {n} languages.|How many {thing} do you have?|"
                   "The {thing} costs {n} euros.|Would you like tea or coffee?|It would take {n} more days.|What is a {thing} made of?|I have {verb} it {n} times.",
        "polar": "The {thing} was {adv} {p}.|It is {adv} {p}.|I find the {thing} {adv} {p}.|{adv} {p} {thing}!|What a {p} {thing}!|The {thing} is {p} and {p}.|"
                 "{p}, {p} and {p}.|I am {adv} {p} with the {thing}.|We had a {p} {thing} {when}.|The {p} {thing} {place}.|{neutral} It was {adv} {p}.|"
                 "{neutral} {p}!|Everything about it was {p}.|They were {adv} {p} to us.|It made me {p}.|He was {p} {when} and {p} {place}.|"
                 "A {p} {thing} with a {p} {thing}.|She felt {adv} {p} {when}.|This {thing} is the {p} I have had {when}.|{neutral} So {p}.|I {p} it.|"
                 "The {thing} {p} {when}.|They {p} the {thing} {place}.|{p}.",
        "negated": "The {thing} was not {p}.|It is not {p} at all.|The {thing} wasn't {p}.|It isn't {adv} {p}.|I was not {adv} {p} with it.|It was never {p}.|"
                   "Not {p} at all.|The {thing} is hardly {p}.|The {thing} weren't {p} and nobody was {p}.|I don't find it {p}.|{neutral} It was not {p}.|"
                   "I can't say it was {p}.|It did not {p}.|They didn't {p}.|I would not {p} this {thing}.|No {p} {thing} {place}.|It is far from {p}.|"
                   "There was nothing {p} about the {thing}.|I can't {p}.|It never {p}.|It is not {p} the money.",
        "adv": "|||very|really|so|extremely|quite|absolutely|totally|incredibly|truly|just|pretty|rather|too".split("|"),
        "whole": {"positive": "Thank you so much for your help.|I will definitely buy again.|I would buy it again any time.|It works as it should, five stars.|Five stars from us.|"
                              "We will come back soon.|It has never let me down.|It saved our day.|I had no problems with it.|Not a single problem, no complaints.|"
                              "Nothing to complain about.|It lasts longer than I hoped.|They went out of their way for us.|We felt welcome.|It has worked ever since.|"
                              "You made my day.|It solved my problem right away.|I could not be happier.|Worth every penny.|Highly recommended to everyone.|"
                              "I was pleasantly surprised.|My children smile when they see it.|It never breaks and never crashes.|By far the best one.",
                  "negative": "I want my money back.|One star, never again.|It broke on the first day.|I will never buy here again.|I will not come back.|Nobody answers the phone.|"
                              "It stopped working after a week.|It fell apart after two days.|It arrived two weeks late.|Half of it was missing.|What a waste of money.|"
                              "A waste of time.|They charged me twice.|My emails are ignored.|He did not show up.|Not worth the money.|Far too long and far too loud.|"
                              "I can't sleep because of the noise.|It smelled of smoke.|They refuse to refund me.|It does not work at all.|Stay away from this shop.|"
                              "I had to wait for hours.|It let me down.|By far the worst one.|Nobody helped us."},
    },
    "de": {
        "thing": "Zimmer Hotel Essen Gerät Buch Film Zug Brief Paket Laden Kellner Service Personal Bild Auto Haus Garten Tisch Handy Akku Reise Woche Tag Arzt Preis Bericht".split(),
        "verb": "gekauft benutzt gelesen geschickt bestellt geöffnet geschlossen gefunden besucht gebracht".split(),
        "place": "im Raum 12|in Köln|am Bahnhof|im zweiten Stock|zu Hause|neben der Kirche".split("|"),
        "when": "gestern|am Dienstag|um acht Uhr|im März|seit zwei Tagen|nach einer Woche|morgen".split("|"),
        "neutral": "Das {thing} ist {place}.|Wir haben das {thing} {when} {verb}.|Der {thing} fährt {when} ab.|Die Sitzung findet {when} statt.|Das {thing} hat {n} Seiten.|"
                   "Bitte senden Sie den {thing} an die folgende Adresse.|Der {thing} wurde {when} {verb}.|Mein Bruder wohnt {place}.|Ich habe {n} {thing} und ein {thing}.|"
                   "Das {thing} war {when} {place} und wurde {verb}.|Wann öffnet das {thing}?|Das {thing} kostet {n} Euro.",
        "polar": "Das {thing} war {adv} {p}.|Der {thing} ist {adv} {p}.|Ein {p} {thing}.|Ich bin {adv} {p} mit dem {thing}.|{p}, {p} und {p}.|Die {thing} war {p} und {p}.|"
                 "{neutral} {p}!|Wir haben uns {adv} {p}.|Es war {when} {p}.|So {p}.|Ich bin {p}, das {thing} war {p}.|Das hat {p}.",
        "negated": "Das {thing} war nicht {p}.|Es ist gar nicht {p}.|Ich bin nicht {adv} {p}.|Kein {p} {thing}.|Der {thing} ist überhaupt nicht {p}.",
        "adv": "||sehr|wirklich|so|total|absolut|ziemlich".split("|"),
        "whole": {"positive": "Ich würde es sofort wieder kaufen.|Wir kommen gerne wieder.|Vielen Dank für alles.|Jederzeit wieder.|Fünf Sterne.",
                  "negative": "Nie wieder.|Ich möchte mein Geld zurück.|Reine Geldverschwendung.|Nach zwei Tagen kaputt.|Viel zu lang und viel zu laut.|Niemand antwortet."},
    },
    "fr": {
        "thing": "chambre hôtel repas appareil livre film train lettre colis magasin serveur service personnel image voiture maison jardin table téléphone voyage semaine jour médecin prix rapport".split(),
        "verb": "acheté utilisé lu envoyé commandé ouvert fermé trouvé visité apporté".split(),
        "place": "dans la salle trois|à Lyon|à la gare|au deuxième étage|à la maison|près de l'église".split("|"),
        "when": "hier|jeudi|à neuf heures|en mars|depuis cinq ans|après une semaine|demain".split("|"),
        "neutral": "Le {thing} est {place}.|Nous avons {verb} le {thing} {when}.|Le {thing} ouvre {when} et ferme à dix-huit heures.|La réunion aura lieu {when}.|"
                   "Le {thing} compte {n} pages.|Mon frère habite {place} {when}.|J'ai {n} {thing} et une {thing}.|La {thing} était {place} {when}.|Le {thing} coûte {n} euros.|"
                   "C'était {when}, il a {verb} l'{thing}.|Je suis {place} pour la {thing}.",
        "polar": "Le {thing} était {adv} {p}.|La {thing} est {adv} {p}.|L'{thing} était {p} et le {thing} {adv} {p}.|Un {p} {thing}.|Je suis {adv} {p} de cet achat.|{p}, {p} et {p}.|"
                 "{neutral} {p} !|C'était {adv} {p}.|{p} beaucoup.|Une {thing} {p} et {p}.|Quelle {p} !|Une {p} de temps.|Nous avons {p} {when}.",
        "negated": "Le {thing} n'était pas {p}.|Ce n'est pas {p} du tout.|Je ne suis pas {adv} {p}.|La {thing} n'est pas {adv} {p}.|Pas {p}.",
        "adv": "||très|vraiment|si|trop|absolument|assez".split("|"),
        "whole": {"positive": "Nous reviendrons avec plaisir.|Merci beaucoup pour tout.|Je le rachèterais sans hésiter.|Cinq étoiles.",
                  "negative": "Plus jamais.|Je veux être remboursé.|Une perte de temps et d'argent.|Tombé en panne après deux jours.|Personne ne répond."},
    },
    "es": {
        "thing": "habitación hotel comida aparato libro película tren carta paquete tienda camarero servicio personal imagen coche casa jardín mesa teléfono viaje semana día médico precio informe".split(),
        "verb": "comprado usado leído enviado pedido abierto cerrado encontrado visitado traído".split(),
        "place": "en la segunda planta|en Sevilla|en la estación|en casa|cerca de la iglesia|en el edificio".split("|"),
        "when": "ayer|el jueves|a las ocho|en marzo|desde hace dos años|mañana|por la mañana".split("|"),
        "neutral": "El {thing} está {place}.|Hemos {verb} el {thing} {when}.|El {thing} sale {when}.|La reunión es {when}.|El {thing} tiene {n} páginas.|Mi hermana trabaja {place}.|"
                   "Tengo {n} {thing} y una {thing}.|La {thing} estaba {place} {when}.|El {thing} cuesta {n} euros.|Ha sido {verb} {when}.|¿Cuándo abre la {thing}?",
        "polar": "El {thing} fue {adv} {p}.|La {thing} estaba {adv} {p}.|El {thing} es {p} y {p}.|Un {thing} {adv} {p}.|Estoy {adv} {p} con la compra.|{p}, {p} y {p}.|{neutral} ¡{p}!|"
                 "Ha sido un {thing} {p}.|Me {p} este {thing}.|Es {adv} {p}.|Una {p} de dinero.|El {thing} se {p} enseguida.|{p} por todo.",
        "negated": "El {thing} no fue {p}.|No es {adv} {p}.|No estoy {p} con la compra.|La {thing} no estaba nada {p}.|Nada {p}.",
        "adv": "||muy|realmente|tan|demasiado|absolutamente|bastante".split("|"),
        "whole": {"positive": "Volveremos pronto.|Muchas gracias por todo.|Lo compraría otra vez sin dudar.|Funciona de maravilla.|Cinco estrellas.",
                  "negative": "Nunca más.|Quiero que me devuelvan el dinero.|Una pérdida de tiempo y de dinero.|Se rompió a los dos días.|Nadie contesta."},
    },
}


def lexicon(vader):
    """{language: {label: {word: weight}}}; VADER's words from 1 upwards, weighted by how polar they are."""
    lists = {language: {"positive": {}, "negative": {}} for language in LANGUAGES}
    for word, value in vader.items():
        if abs(value) >= 1.4 and re.fullmatch("[a-z][a-z'-]+", word):
            lists["en"]["positive" if value > 0 else "negative"][word] = abs(value) - 0.5
    for line in (HERE / "lexicon.tsv").read_text().splitlines():
        language, label, words = line.split("\t")
        for word in words.split():
            lists[language][OTHER[label]].pop(word, None)
            lists[language][label][word.replace("-", " ")] = 6.0 if language == "en" else 1.0
    return lists


class Maker:
    """Draws sentences with a seeded generator."""

    def __init__(self, vader, rng):
        self.rng = rng
        self.words = {language: {label: (list(words), list(words.values())) for label, words in labels.items()}
                      for language, labels in lexicon(vader).items()}

    def fill(self, template, language, label):
        """`label` gives the polar words; None only where the template has none."""
        slots = SLOTS[language]

        def slot(match):
            name = match.group(1)
            if name == "p":
                words, weights = self.words[language][label]
                return self.rng.choices(words, weights)[0]
            if name == "n":
                return self.rng.choice(["two", "four", "seven", "12", "40", "nine"] if language == "en" else ["2", "7", "12", "200"])
            if name == "neutral":
                return self.fill(self.pick(slots["neutral"]), language, None)
            if name in ("thing", "verb") and self.rng.random() < 0.4:
                return self.made_up()
            return self.rng.choice(slots[name])

        return re.sub(r"\{(\w+)\}", slot, template)

    def pick(self, templates):
        return self.rng.choice(templates.split("|"))

    def made_up(self):
        return "".join(self.rng.choices(SYLLABLES, k=self.rng.choice([2, 3, 3, 4])))

    def salad(self, language, label):
        """Grammar words and made-up words in any order, with a polar word or two in them if there is a label."""
        words = [self.rng.choice(FUNCTION[language]) if self.rng.random() < 0.5 else self.made_up() for _ in range(self.rng.randint(3, 14))]
        for _ in range(0 if label == "neutral" else self.rng.choice([1, 2, 2, 3])):
            words.insert(self.rng.randint(0, len(words)), self.fill("{p}", language, label))
        return " ".join(words)

    def sentence(self, language, label):
        slots = SLOTS[language]
        if self.rng.random() < 0.25:
            return self.salad(language, label)
        if label == "neutral":
            text = " ".join(self.fill(self.pick(slots["neutral"]), language, None) for _ in range(self.rng.choice([1, 1, 2])))
            if self.rng.random() < 0.5:
                text = " ".join(self.rng.sample(text.split(), len(text.split())))
            return text
        how = self.rng.random()
        if how < 0.25:
            return self.fill(self.pick(slots["negated"]), language, OTHER[label])
        if how < 0.40:
            before = self.fill(self.pick(slots["neutral"]), language, None) + " " if self.rng.random() < 0.5 else ""
            return before + self.pick(slots["whole"][label])
        text = self.fill(self.pick(slots["polar"]), language, label)
        if how < 0.65:
            text += " " + self.fill(self.pick(slots["neutral"] + "|" + slots["polar"]), language, label)
        return text

    def draw(self, count):
        """`count` pairs of text and label, the labels in equal numbers."""
        for number in range(count):
            language = self.rng.choices(LANGUAGES, [SHARES[name] for name in LANGUAGES])[0]
            label = ["negative", "neutral", "positive"][number % 3]
            yield self.sentence(language, label), label
