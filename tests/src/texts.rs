//! Texts that requests come with: a letter whose language is plain, and documents of any length that take time to read.

use std::fmt::Write as _;

/// A letter in German with something to say.
pub const LETTER: &str = "Sehr geehrte Frau Lindner,\n\nvielen Dank für Ihre Anfrage vom vergangenen Montag. Wir haben die Unterlagen geprüft \
und können Ihnen mitteilen, dass die Genehmigung für die Solaranlage auf dem Dach der Schule erteilt wurde. Die Arbeiten beginnen im März und \
dauern voraussichtlich sechs Wochen. Während dieser Zeit bleibt der nördliche Eingang geschlossen, und der Unterricht findet wie gewohnt \
statt. Die Anlage wird im Sommer etwa ein Drittel des Stroms liefern, den die Schule verbraucht. Bitte informieren Sie die Eltern rechtzeitig \
über die geänderten Wege. Für Rückfragen stehen wir Ihnen gerne zur Verfügung.\n\nMit freundlichen Grüßen\nIhr Bauamt\n";

/// Words that sentences are made of.
const WORDS: [&str; 24] = [
    "river", "harbour", "council", "bridge", "timber", "winter", "market", "engine", "lantern", "orchard", "railway", "granite", "signal",
    "teacher", "weather", "journey", "painter", "archive", "meadow", "furnace", "captain", "library", "machine", "village",
];

/// A land register of about `bytes` bytes, the same for the same size. No two entries share their numbers, so that a text
/// tool has as many words to count as it can: 60 MiB keep `summarize` busy for some seconds.
pub fn register(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 200);
    let mut n: u64 = 0;
    while text.len() < bytes {
        n += 1;
        // Multiples of primes modulo primes: well mixed, and the text needs no file.
        let [a, b, c] = [(7_919, 999_983), (104_729, 999_979), (1_299_709, 999_961)].map(|(factor, modulus)| n * factor % modulus);
        let word = |number: u64| WORDS[usize::try_from(number).unwrap_or(0) % WORDS.len()];
        let _ = writeln!(
            text,
            "Entry {n}: the {} of lot {:x} was moved to hall {:x} before the {} reached house {:x}.",
            word(a),
            a * 31,
            b * 17,
            word(b),
            c * 13
        );
    }
    text
}
