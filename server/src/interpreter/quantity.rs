//! How many: the numbers a person gives ("in three sentences", "the top 5 key phrases") as parameters of containers.
//!
//! A container offers a whole-number parameter by its schema; the property's name says what it counts. A number in front
//! of that unit sets it, cut to the schema's limits: whoever asks for 500 sentences gets as many as there may be.

use super::words::{Gap, Word};
use ouro_common::container::Manifest;
use serde_json::{Map, Value, json};

/// How far before its unit a number may stand: "5 most important key phrases".
const REACH: usize = 3;

/// Number words, by their plain forms.
const NUMBERS: [(u64, &str); 13] = [
    (1, "one single ein einem einen eine une uno una um uma een jedno jednym jedna одно одном одним bir ett 一"),
    (2, "two couple zwei deux dos due dois duas twee dwa dwoch dwie два двух две iki tva 二 两 兩"),
    (3, "three drei trois tres tre drie trzy trzech три трех uc 三"),
    (4, "four vier quatre cuatro quattro quatro cztery czterech четыре четырех dort fyra 四"),
    (5, "five funf fuenf cinq cinco cinque vijf piec pieciu пять пяти bes fem 五"),
    (6, "six sechs seis sei zes szesc шесть шести alti sex 六"),
    (7, "seven sieben sept siete sette sete zeven siedem семь семи yedi sju 七"),
    (8, "eight acht huit ocho otto oito osiem восемь восьми sekiz atta 八"),
    (9, "nine neun neuf nueve nove negen dziewiec девять девяти dokuz nio 九"),
    (10, "ten zehn dix diez dieci dez tien dziesiec десять десяти on tio 十"),
    (12, "twelve dozen zwolf dutzend douze doce dodici doze twaalf dwanascie двенадцать on iki tolv"),
    (15, "fifteen funfzehn quinze quince quindici vijftien pietnascie пятнадцать femton"),
    (20, "twenty zwanzig vingt veinte venti vinte twintig dwadziescia двадцать yirmi tjugo"),
];

/// What a property counts, in the words people use for it.
const UNITS: [(&str, &str); 2] = [
    (
        "sentences",
        "sentence sentences line lines satz satze satzen phrase phrases frase frases frasi zin zinnen zdanie zdania zdaniach zdan \
         предложение предложения предложениях предложении cumle cumlede mening meningar 句 文",
    ),
    (
        "count",
        "keyword keywords word words phrase phrases term terms topic topics tag tags stichwort stichworte stichworter \
         schlusselwort schlusselworter schlagwort schlagworte schlagworter begriffe mots cles palabras clave parole chiave \
         palavras chave trefwoorden woorden slow slowa kluczowych ключевых слов nyckelord 词 詞 語",
    ),
];

/// Words that make a phrase no sentence: "five key phrases".
const KEY: &str = "key main important top most mots palabras parole palavras";

/// The parameters of a container as far as the request gives them.
pub(crate) fn parameters(manifest: &Manifest, text: &[Word]) -> Value {
    let properties = manifest.params.get("properties").and_then(Value::as_object);
    let numbers = properties.into_iter().flatten().filter(|(_, schema)| schema.get("type") == Some(&json!("integer")));
    let given = numbers.filter_map(|(name, schema)| Some((name.clone(), json!(within(schema, asked(name, text)?)))));
    Value::Object(given.collect::<Map<_, _>>())
}

/// The number in front of what `property` counts; the first one counts.
fn asked(property: &str, text: &[Word]) -> Option<u64> {
    let known = UNITS.iter().find(|(name, _)| *name == property).map(|(_, words)| *words);
    let own = property.trim_end_matches('s');
    let is_unit = |i: usize| {
        let word = text[i].plain.as_str();
        let named = known.map_or_else(|| word.trim_end_matches('s') == own, |words| has(words, word));
        named && !(property == "sentences" && word.starts_with("phrase") && i > 0 && has(KEY, &text[i - 1].plain))
    };
    (0..text.len()).filter(|i| is_unit(*i)).find_map(|unit| {
        let start = unit.saturating_sub(REACH);
        let before = (start..unit).rev().take_while(|i| text[i + 1].gap == Gap::Space);
        before.filter_map(|i| number(&text[i].plain)).next()
    })
}

fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|w| w == word)
}

fn number(word: &str) -> Option<u64> {
    let spelt = || NUMBERS.iter().find(|(_, words)| has(words, word)).map(|(n, _)| *n);
    word.parse().ok().or_else(spelt)
}

fn within(schema: &Value, number: u64) -> u64 {
    let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
    number.min(limit("maximum").unwrap_or(u64::MAX)).max(limit("minimum").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    const SUMMARIZE: &str = include_str!("../../../models/containers/summarize/container.toml");
    const KEYWORDS: &str = include_str!("../../../models/containers/keywords/container.toml");

    fn given(manifest: &str, prompt: &str) -> Value {
        parameters(&Manifest::from_toml(manifest).unwrap(), &words(prompt))
    }

    #[test]
    fn numbers_in_front_of_their_unit_count() {
        for (prompt, sentences) in [
            ("Summarise this in three sentences", 3),
            ("a one-sentence summary", 1),
            ("boil it down for me pls, 3 sentences tops", 3),
            ("in no more than 2-4 short sentences", 4),
            ("Fasse das in zwei Sätzen zusammen", 2),
            ("résume en deux phrases", 2),
            ("用三句话总结", 3),
            ("500 sentences please", 100),
            ("0 sentences", 1),
        ] {
            assert_eq!(given(SUMMARIZE, prompt), json!({ "sentences": sentences }), "{prompt}");
        }
        for (prompt, count) in [("the top 5 key phrases", 5), ("Gib mir sieben Schlagwörter", 7), ("three most important topics", 3)] {
            assert_eq!(given(KEYWORDS, prompt), json!({ "count": count }), "{prompt}");
        }
    }

    #[test]
    fn numbers_of_something_else_do_not() {
        for prompt in [
            "Summarise the 3 letters",
            "summary of chapter 2, sentences only",
            "5 key phrases and a summary",
            "sentences",
            "",
        ] {
            assert_eq!(given(SUMMARIZE, prompt), json!({}), "{prompt}");
        }
        assert_eq!(given(KEYWORDS, "summarise in two sentences and give key phrases"), json!({}));
    }
}
