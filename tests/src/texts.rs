//! Texts that requests come with: a letter whose language is plain, and documents of any length that take time to read.

use std::fmt::Write as _;

/// A letter in German with something to say.
pub const LETTER: &str = "Sehr geehrte Frau Lindner,\n\nvielen Dank für Ihre Anfrage vom vergangenen Montag. Wir haben die Unterlagen geprüft \
und können Ihnen mitteilen, dass die Genehmigung für die Solaranlage auf dem Dach der Schule erteilt wurde. Die Arbeiten beginnen im März und \
dauern voraussichtlich sechs Wochen. Während dieser Zeit bleibt der nördliche Eingang geschlossen, und der Unterricht findet wie gewohnt \
statt. Die Anlage wird im Sommer etwa ein Drittel des Stroms liefern, den die Schule verbraucht. Bitte informieren Sie die Eltern rechtzeitig \
über die geänderten Wege. Für Rückfragen stehen wir Ihnen gerne zur Verfügung.\n\nMit freundlichen Grüßen\nIhr Bauamt\n";

/// Words that sentences are made of; enough of them that no two paragraphs are alike.
const WORDS: [&str; 24] = [
    "river", "harbour", "council", "bridge", "timber", "winter", "market", "engine", "lantern", "orchard", "railway", "granite", "signal",
    "teacher", "weather", "journey", "painter", "archive", "meadow", "furnace", "captain", "library", "machine", "village",
];

/// An English document of about `bytes` bytes, the same for the same size.
pub fn document(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 200);
    let mut n: usize = 1;
    while text.len() < bytes {
        // A linear congruence: every sentence differs from its neighbours, and the text needs no file.
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = |shift: u32| WORDS[(n >> shift) % WORDS.len()];
        let _ = write!(
            text,
            "The {} of the {} was moved to the {} before the {} reached the {} near the old {}. ",
            word(20),
            word(25),
            word(30),
            word(35),
            word(40),
            word(45)
        );
        if n % 7 == 0 {
            text.push_str("\n\n");
        }
    }
    text
}
