//! Words that carry grammar and not content, in the languages the text tools read: English, German, French, Spanish.

use std::collections::HashSet;
use std::sync::LazyLock;

const ENGLISH: &str = "a about above after again against all also am an and any are as at be because been before being below between both \
    but by can cannot could did do does doing down during each even every few for from further get had has have having he her here hers him his how \
    however i if in into is it its itself just let like made make many may me might more most much must my no nor not now of off on once one only or \
    other our ours out over own per said same say see shall she should since so some such than that the their theirs them then there these they this \
    those through thus to too two under until up upon us use used very via was we well were what when where which while who whom whose why will with \
    within without would yet you your yours";
const GERMAN: &str = "aber alle allem allen aller alles als also am an andere anderen anderer auch auf aus bei beim bin bis bist da dabei dadurch dafür \
    damit dann daran darauf darin das dass dazu dein deine dem den denn der des dessen deshalb die dies diese diesem diesen dieser dieses doch dort du \
    durch ein eine einem einen einer eines einige er es etwas euch euer für gegen gewesen hab habe haben hat hatte hatten hier hin hinter ich ihm ihn \
    ihnen ihr ihre ihrem ihren ihrer im immer in indem ins ist ja jede jedem jeden jeder jedes jedoch jetzt kann kein keine keinen können könnte man \
    mehr mein meine mit muss müssen nach nachdem nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner seit sich sie sind so \
    sobald sogar solche soll sollen sollte sondern sonst sowie über um und uns unser unsere unter viel viele vom von vor während war waren warum was \
    wegen weil weiter welche welchem welchen welcher wenn wer werde werden wie wieder will wir wird wirst wo wollen worden wurde wurden würde zu zum zur \
    zwar zwischen";
const FRENCH: &str = "ai aie alors après as au aucun aussi autre aux avant avec avoir c ce cela celle celui ces cet cette ceux chaque chez ci comme \
    comment d dans de depuis des deux donc dont du elle elles en encore entre est et étaient était été être eu eux fait faut font hors ici il ils j je \
    l la le les leur leurs lui m ma mais me même mes moi moins mon n ne ni nos notre nous on ont ou où par parce pas peu peut peuvent plus plusieurs \
    pour pourquoi qu quand que quel quelle quelles quels qui s sa sans se sera ses si son sont sous sur t ta tandis te tes toi ton tous tout toute toutes \
    très trop tu un une vers voici voilà vos votre vous y à";
const SPANISH: &str = "al algo algunas algunos ante antes aquel aquella aunque cada como con contra cual cuando de del desde donde dos durante e el él \
    ella ellas ellos en entre era eran es esa esas ese eso esos esta está están estas este esto estos fue fueron ha había habían han hasta hay la las le \
    les lo los más me mi mientras mis mucho muchos muy nada ni no nos nosotros nuestra nuestro o otra otras otro otros para pero poco por porque pues que \
    qué quien quienes se sea según ser si sí sido sin sino sobre son su sus también tan tanto te tiene tienen toda todas todo todos tras tu tus un una \
    unas uno unos usted ustedes y ya yo";

static ALL: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| [ENGLISH, GERMAN, FRENCH, SPANISH].iter().flat_map(|list| list.split_whitespace()).collect());

/// Whether a lower-case word carries no content in any of the languages.
///
/// The lists are used together: a text need not say which language it is in, and few of these words carry content in
/// another of the four.
pub(crate) fn is_stopword(word: &str) -> bool {
    ALL.contains(word)
}
