//! The small words that change what the large ones mean: no, only, but, then, all; and those that carry nothing.

/// What a small word or a turn of phrase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Denies what follows in its clause.
    Not,
    /// Denies what follows in its clause; what stands before it, if nothing follows.
    NotEither,
    /// Denies what stands before it.
    NotBefore,
    /// Everything but what follows.
    AllBut,
    /// Looks like a denial or a request, and is neither ("I don't know", "not only").
    Nothing,
    /// Restricts the request to its clause.
    Only,
    /// Opens a contrasting clause.
    But,
    /// Opens a clause: a verb of asking, or a question word.
    Asking,
    /// Joins, and keeps a denial going.
    Or,
    /// Joins.
    And,
    /// Everything that can be done.
    All,
    /// Asks for nothing in particular ("analyse this").
    Generic,
    /// What the step before gave ("the result").
    Result,
    /// Each of the inputs.
    Each,
}

impl Mark {
    /// Every mark with its phrases, in the notation of [`super::phrases`].
    pub(crate) const PHRASES: [(Self, &'static str); 14] = [
        (Self::Not, NOT),
        (Self::NotEither, NOT_EITHER),
        (Self::NotBefore, NOT_BEFORE),
        (Self::AllBut, ALL_BUT),
        (Self::Nothing, NOTHING),
        (Self::Only, ONLY),
        (Self::But, BUT),
        (Self::Asking, ASKING),
        (Self::Or, OR),
        (Self::And, AND),
        (Self::All, ALL),
        (Self::Generic, GENERIC),
        (Self::Result, RESULT),
        (Self::Each, EACH),
    ];
}

const NOT: &str = "no, dont, do not, doesnt, does not, didnt, never, without, w/o, skip, omit, leave out, leave ~ out, ignore, ignoring, forget, forget about, except, except for, excluding, exclude, besides, other than, apart from, instead of, rather than, \
    avoid, neither, nor, none, cannot, cant, wont, wouldnt, shouldnt, should not, spare me, no need, refrain from, minus, anything but, \
    kein, keine, keinen, keiner, keinem, keines, ohne, statt, anstatt, anstelle, ausser, bis auf, weder, lass ~ weg, uberspring*, nie, niemals, nix, \
    ne ~ pas, n ~ pas, ne ~ plus, ne ~ jamais, pas, pas de, pas d, pas le, pas la, pas besoin, sans, sauf, au lieu de, au lieu d, plutot que, hormis, excepte, ni ~ ni, jamais, aucun, aucune, \
    sin, excepto, salvo, en lugar de, en vez de, tampoco, ningun, ninguna, nada de, \
    non, senza, tranne, eccetto, invece di, invece del, invece della, al posto di, niente, nessun, nessuna, =né, \
    nao, sem, exceto, em vez de, em vez do, em vez da, ao inves de, nem, nenhum, nenhuma, \
    geen, zonder, behalve, in plaats van, nooit, \
    nie, bez, oprocz, zamiast, poza, ani, zadnego, zadnych, zadnej, nigdy, \
    не, без, кроме, вместо, ни, никаких, никакого, никакой, нет, не надо, \
    不, 别, 別, 不要, 不用, 不需要, 无需, 無需, 不必, 请勿, 勿, 别给我, 没有, 除了, 而不是, 而非, 跳过, 忽略, 不想, \
    utan, ingen, inget, inga, istallet for, i stallet for, forutom, aldrig, hoppa over, slipp, uten, uden, ingen, intet, \
    لا, بدون, ليس, दون, नहीं, बिना, मत, ไม่, ไม่ต้อง, không, đừng, jangan, tanpa, bukan, ilman, nem, ne kell, nelkul, fara, χωρις, μη, μην, δεν, בלי, לא";
const NOT_EITHER: &str = "not, not need, dont need, dont want, do not want, not interested, not interested in, rather not, dont care, do not care, nicht, niet, inte, ej, icke, ikke, brauche keine, no quiero, no necesito, no me interesa, no me hace falta, nao quero, nao preciso, non voglio, non mi serve, nie chce, не нужно, не хочу, не интересует, interessiert mich nicht, interesse nicht, leave out, leave ~ out, lass ~ weg";
const NOT_BEFORE: &str = "しないで, せずに, しなくて, しない, なしで, なし, 無しで, は不要, 不要です, いらない, いりません, 必要ない, 必要ありません, ではなく, じゃなく, でなく, ではない, 以外, 抜きで, やめて, はいい, は要らない, \
    degil, istemiyorum, istemem, olmadan, olmasin, yerine, haric, disinda, gerek yok, gerekmez, gereksiz, yapma, etme, verme, \
    말고, 하지마, 하지 마, 하지 말, 없이, 아니라, 빼고, 제외하고, 필요 없, not needed, not required, not necessary, isnt needed, unnecessary, is not needed, nicht notig, nicht erforderlich, brauche ich nicht, brauch ich nicht, unnotig, weglassen, hoeft niet, niet nodig, \
    n est pas necessaire, pas necessaire, inutile, no es necesario, no hace falta, non serve, non e necessario, nao precisa, nao e preciso, nao e necessario, nie trzeba, niepotrzebn*, не нужна, не нужен, не нужны, не требуется, behovs inte, behovs ej, 就不用了, 就算了, 免了";
const NOTHING: &str = "wie lang, so lang, zu lang, lang ist, lang genug, lang und breit, dont know, do not know, dont understand, do not understand, dont speak, do not speak, not sure, im not sure, cant tell, cannot tell, cant read, cannot read, cant figure, cant work out, no idea, no clue, dont get, dont have time, do not have time, no time, not have time, havent time, \
    didnt read, have not read, havent read, not read, dont want to read, do not want to read, dont feel like reading, cant be bothered, not only, not just, dont just, do not just, dont only, do not only, no problem, no matter, no worries, no rush, no hurry, dont worry, dont hesitate, dont mind, do not mind, if not, or not, why not, not too, no more than, not more than, no longer than, not longer than, \
    why dont you, why dont we, dont you, cant you, couldnt you, wouldnt you, wont you, dont forget, do not forget, dont forget to, never mind the typos, without reading, without having to read, without me ~ read, without going through, didnt understand, did not understand, isnt it, isnt this, doesnt it, dont be, do not be, dont make, do not make, do not miss, dont miss, dont skip, do not skip, dont leave out, dont omit, dont ignore, \
    im feeling, i feel, feel free, i m feeling, feel like, happy to, be happy, id be happy, be glad, glad to, glad if, im glad, sad to say, im afraid, nothing else, and nothing else, nothing more, nothing but, no more no less, with no explanation, no explanation, without explanation, no comments, without comment, no preamble, no extra text, no fluff, no bullshit, no nonsense, \
    number of words, number of sentences, number of characters, word count, max words, dead language, body language, programming language, programming languages, mother tongue, tone of voice of mine, tone down, sign language, in plain language, in simple language, plain language, simple language, bad language, official language, in your language, in my language, first language, second language, learn a language, learn ~ language, language course, language school, language learning, language model, \
    mas o menos, al menos, por lo menos, weiss nicht, weiss ich nicht, keine ahnung, bin nicht sicher, nicht sicher, verstehe nicht, versteh nicht, verstehe ich nicht, keine zeit, nicht nur, oder nicht, wenn nicht, warum nicht, nicht mehr als, nicht langer als, kann nicht lesen, nicht lesen, macht nichts, sonst nichts, nichts anderes, nichts weiter, nichts sonst, nicht vergessen, vergiss nicht, kein problem, keine sorge, \
    ne sais pas, sais pas, n ai pas le temps, pas le temps, pas seulement, pas que, ou pas, ou non, rien d autre, ne comprends pas, aucune idee, pas plus de, pas sur, n oublie pas, n hesite pas, pourquoi pas, \
    no se, no lo se, no entiendo, no tengo tiempo, no tengo idea, ni idea, no solo, no solamente, o no, nada mas, no mas de, no estoy seguro, no estoy segura, no olvides, por que no, no te olvides, sin problema, \
    non so, non capisco, non ho tempo, non solo, o no, o meno, nient altro, niente altro, non piu di, non sono sicuro, non dimenticare, perche non, \
    nao sei, nao entendo, nao tenho tempo, nao so, nao apenas, ou nao, nada mais, nao mais de, nao tenho certeza, nao esqueca, \
    weet niet, weet ik niet, geen idee, geen tijd, niet alleen, of niet, niets anders, verder niets, verder niks, niet meer dan, niet zeker, begrijp niet, vergeet niet, \
    nie wiem, nie rozumiem, nie mam czasu, nie tylko, czy nie, nic wiecej, nic innego, nie wiecej niz, nie jestem pewien, nie zapomnij, \
    не знаю, не понимаю, нет времени, не только, или нет, ничего больше, больше ничего, не больше, не уверен, не уверена, не забудь, \
    不知道, 看不懂, 不懂, 不确定, 不清楚, 没时间, 不仅, 不只, 不但, 是不是, 不明白, 对不对, 要不要, 能不能, 可不可以, 好不好, 不超过, 分からない, 分かりません, わからない, わかりません, 知らない, だけでなく, だけではなく, かどうか, \
    bilmiyorum, anlamiyorum, vaktim yok, zamanim yok, sadece degil, degil mi, emin degilim, baska bir sey degil, vet inte, forstar inte, har inte tid, ingen aning, inte bara, eller inte, eller ej, inget annat, ikke bare, ved ikke, vet ikke, ingen ide, \
    모르겠, 뿐만 아니라, 아닌지, لا أعرف, لا أفهم, नहीं पता";
const ONLY: &str = "only, just, solely, merely, purely, exclusively, simply, nothing but, nothing else than, nur, bloss, lediglich, ausschliesslich, einfach nur, nichts als, seulement, uniquement, juste, simplement, rien que, rien d autre que, ne dis que, ne donne que, ne me dis que, ne me donne que, solo, solamente, unicamente, nada mas que, soltanto, solamente, apenas, =só, somente, unicamente, alleen, slechts, enkel, tylko, wylacznie, jedynie, только, лишь, исключительно, просто, 只, 只要, 仅, 僅, 只需, 只想, 只告诉, 就行, 就好, だけ, のみ, ただ, sadece, yalnizca, yalniz, bara, endast, enbart, blott, kun, bare, 만, 오직, فقط, सिर्फ, केवल, แค่, chỉ, hanya, saja, тільки, лише, jen, pouze, csak, doar, numai, vain, μονο, רק";
const BUT: &str = "but, however, though, although, yet, instead, whereas, aber, sondern, jedoch, stattdessen, dafur, mais, cependant, par contre, plutot, pero, sino, sino que, en cambio, ma, pero, bensi, piuttosto, invece, mas, porem, sim, maar, echter, ale, lecz, natomiast, а, но, зато, однако, лучше, 但, 但是, 而, 而是, 不过, 不過, でも, しかし, けど, けれど, 代わりに, ama, fakat, ancak, lakin, bunun yerine, men, dock, bunun, 하지만, 그러나, 대신, لكن, बल्कि, लेकिन, แต่, nhưng, tapi, tetapi";
const ASKING: &str = "tell, give, show, list, say, find, get, extract, pull, check, detect, identify, determine, name, compute, calculate, work out, provide, return, output, produce, make, create, write, need, want, please, pls, plz, what, whats, which, who, how, is, are, also, then, afterwards, next, finally, and then, do, can, could, would, lets, run, use, apply, i want, i need, id like, let me know, afterward, \
    sag, sage, sagen, nenn, nenne, gib, gebe, zeig, zeige, liste, schreib, finde, such, erkenne, bestimme, berechne, ermittle, mach, mache, bitte, was, welche, welcher, welches, wie, ist, sind, dann, danach, anschliessend, ausserdem, auch, verrate, \
    dis, donne, montre, indique, liste, trouve, extrais, calcule, fais, dites, donnez, indiquez, veux, voudrais, quel, quelle, quels, quelles, est, puis, ensuite, aussi, apres, \
    di, dime, dame, da, muestra, muestrame, indica, lista, encuentra, extrae, calcula, haz, quiero, necesito, que, cual, cuales, luego, despues, tambien, por favor, \
    dimmi, dammi, mostrami, mostra, elenca, trova, estrai, calcola, fai, voglio, vorrei, quale, quali, poi, dopo, anche, inoltre, per favore, \
    diga, dize, diz, me diga, mostre, liste, encontre, extraia, calcule, faca, quero, preciso, qual, quais, depois, tambem, entao, \
    zeg, geef, toon, noem, lijst, vind, bepaal, bereken, maak, wil, graag, wat, welk, welke, hoe, daarna, vervolgens, ook, vertel, \
    powiedz, podaj, pokaz, wypisz, znajdz, wyodrebnij, oblicz, policz, zrob, chce, prosze, jaki, jaka, jakie, potem, nastepnie, takze, tez, okresl, \
    скажи, дай, покажи, назови, перечисли, найди, выдели, определи, посчитай, вычисли, сделай, хочу, нужно, нужен, нужна, какой, какая, какие, какое, потом, затем, также, пожалуйста, укажи, выпиши, \
    告诉, 告訴, 给我, 給我, 列出, 找出, 提取, 检测, 判断, 请, 請, 什么, 怎么, 哪, 然后, 然後, 接着, 再, 也, 教えて, 出して, 見せて, 示して, それから, 次に, そして, \
    soyle, ver, goster, listele, bul, cikar, hesapla, yap, istiyorum, lutfen, nedir, hangi, sonra, ardindan, ayrica, belirle, \
    saga, sag, ge, visa, lista, hitta, berakna, gor, vill, snalla, vad, vilken, vilket, sedan, darefter, ocksa, ange, beratta, tack, 알려, 말해, 보여, 그리고, أخبرني, اذكر, बताओ, बताइए";
const OR: &str = "or, nor, oder, noch, ou, ni, o, u, oppure, nem, of, ani, lub, albo, czy, или, ни, 或, 或者, また, または, veya, ya da, ne de, eller, ja, また";
const AND: &str = "and, &, plus, as well as, und, sowie, et, ainsi que, y, e, ed, en, oraz, i, и, а также, 和, 与, 與, 及, 以及, 还有, 還有, 并, と, や, ve, och, samt, og, 와, 과, 및, و, और";
const ALL_BUT: &str = "everything but, everything except, everything except for, all but, all except, everything apart from, everything besides, alles ausser, alles bis auf, tout sauf, todo menos, todo excepto, todo salvo, tutto tranne, tutto eccetto, tudo menos, tudo exceto, alles behalve, wszystko oprocz, wszystko poza, все кроме, her sey haric, allt utom, allt forutom";
const ALL: &str = "everything you can, everything you know, everything you have, everything you got, everything, all you can, all you have, all youve got, everything youve got, everything about, anything you can, the full analysis, full analysis, complete analysis, full report, complete report, the works, full monty, all of the above, run all, run everything, apply everything, use everything, do everything, all analyses, all tools, every tool, every analysis, everything possible, all the analysis, all containers, every container, as much as you can, whatever you can, \
    alles, alles was du kannst, alles was geht, komplette analyse, vollstandige analyse, alle analysen, alle werkzeuge, tout ce que tu peux, tout ce que vous pouvez, analyse complete, tout, todo lo que puedas, analisis completo, todo, tutto quello che puoi, analisi completa, tutto, tudo o que puder, tudo que puder, analise completa, tudo, alles wat je kunt, volledige analyse, wszystko, pelna analiza, все что можешь, всё что можешь, полный анализ, всё, 一切, 全部, 所有分析, 全面分析, 全部分析, すべて, 全て, 全部分析して, her sey, her seyi, tam analiz, allt, allt du kan, fullstandig analys";
const GENERIC: &str = "analy*, analyse this, have a look, take a look, look at, look into, inspect, examine, process, evaluate, assess, tell me about, tell me something about, what is this, whats this, what is that, what is it, whats in, what is in, whats inside, what do you make of, what can you tell, what can you say, what do you know about, what do you think, thoughts, describe, explain, info, information, insight*, details about, help me with, help me understand, help me out with, any idea, what have we got, what have i got, check this, check this out, check it, review this, go through, make sense of, what does ~ mean, understand, study, read this, \
    analysier*, untersuch*, schau ~ an, sieh ~ an, was ist das, was ist drin, was kannst du ~ sagen, beschreib*, erklar*, auswert*, werte ~ aus, prufe, examine*, etudie, regarde, qu est ce que c est, c est quoi, que peux tu, decri*, explique*, dis moi ce que tu, \
    analiz*, examina*, revisa*, mira, que es esto, que puedes decir, describe*, explica*, esamina*, guarda, cos e, che cos e, cosa puoi dir*, descriv*, spiega*, examine, veja, o que e isto, o que e isso, o que pode dizer, descrev*, expliqu*, bekijk, wat is dit, wat kun je, beschrijf, leg ~ uit, onderzoek, \
    przeanaliz*, zanaliz*, zbadaj, co to jest, co mozesz powiedziec, opisz, wyjasnij, sprawdz, проанализ*, анализ*, изучи, посмотри, что это, что скажешь, опиши*, объясни, расскажи, 分析, 看看, 看一下, 这是什么, 這是什麼, 描述, 解释, 介绍, 説明, 説明して, 分析して, 見て, これは何, 調べて, analiz et, incele*, bak, bu ne, acikla*, analyser*, undersok*, titta pa, vad ar det har, vad ar detta, beskriv*, forklar*, kolla, 분석, 설명, 봐 줘, حلل, اشرح, विश्लेषण";
const RESULT: &str = "the result, the results, that result, its result, its output, the output, that output, the outcome, das ergebnis, dem ergebnis, des ergebnisses, vom ergebnis, davon, le resultat, du resultat, el resultado, del resultado, il risultato, del risultato, o resultado, do resultado, het resultaat, wynik, wyniku, результат, результата, 结果, 結果, sonuc, sonucu, sonucun, resultatet";
const EACH: &str = "both, each, every, all of them, all files, all texts, all inputs, all three, all the files, all the texts, each one, every one, every file, each file, these, those, they, beide, beiden, jeden, jede, jedes, alle, tous, toutes, chacun, chacune, chaque, les deux, ambos, ambas, todos, todas, cada, entrambi, entrambe, tutti, tutte, ogni, beide, alle, elk, elke, oba, obie, kazdy, kazda, kazdego, wszystkie, оба, обе, обоих, каждый, каждого, все файлы, 都, 每个, 每一个, 各, 两个, 兩個, 両方, それぞれ, すべての, 全ての, her, her ikisi, ikisini, hepsi, hepsini, bada, alla, varje, samtliga";

/// Words that carry nothing of what a text is about: function words, politeness, and words for texts and files.
pub(crate) const EMPTY: &str = "a an the this that these those it its is are was were be been am i me my mine you your yours we us our he him his she her they them their one ones some any as at by for from in into of off on onto out over to up with about here there now so very really quick quickly fast please pls plz thanks thank thx ty hi hello hey dear \
    tell give show say let know want need like would could can will shall should may might must do does did done have has had make made get got find out see look read write wrote written use using run help try if whether when while than then also too as well both each all every just only and or but not no yes ok okay what whats which who whose whom how why where \
    text texts letter letters document documents doc docs file files page pages mail mails email emails e message messages note notes article articles report reports paragraph passage post posts tweet tweets review reviews comment comments content contents attachment attached attachments input inputs thing things stuff paper essay book chapter section transcript chat log story blog pdf image images picture pictures photo photos pic pics scan scans screenshot table tables csv spreadsheet sheet data dataset excel numbers \
    following below above given provided enclosed sent received got lol lmao haha btw asap kindly whole entire full long short brief few word words sentence sentences line lines main most important version english \
    der die das den dem des ein eine einen einem einer dies diese diesen dieser dieses dem hier mir mich du dich dir sie ihr ihnen ich wir uns er es ist sind war hat haben kann kannst konnen konnte wird werden soll bitte danke mal doch und oder auf in im am an aus von vom zum zur zu mit fur uber bei was wie welche welcher welches welchem geschrieben verfasst brief text dokument datei nachricht mail artikel bericht seite bild foto tabelle daten satz satze worte worten sag gib mach einfach schnell kurz folgenden folgende folgender text anbei angehangt hallo \
    le la les l un une des du de d ce cet cette ces ca cela c est sont il elle ils en dans pour par sur avec et ou a au aux que qui quoi qu quel quelle moi me m te tu vous nous je j on se s y ne pas plus svp s il vous plait merci lettre texte document fichier message mail article rapport page image photo tableau donnees peux pouvez peut etre ecrit ecrite ci joint suivant suivante bonjour phrase phrases mots \
    el los las una unos unas lo este esta esto estos estas ese esa eso aquel en de del al por para con y o que cual quien como es son esta estan escrito escrita carta texto documento archivo mensaje correo articulo informe pagina imagen foto tabla datos me te se le mi tu su puedes puede podria quiero favor gracias hola adjunto siguiente frase frases palabras \
    il lo gli i uno una questo questa questi queste quello di del della dello dei delle da dal dalla nel nella per con su sul e o che chi cosa come sono scritto scritta lettera testo documento file messaggio articolo rapporto pagina immagine foto tabella dati mi ti si puoi potresti vorrei favore grazie ciao allegato seguente frase frasi parole \
    o a os as um uma este esta isto esse essa isso em no na nos nas do da dos das ao para por com e ou que quem como esta escrito escrita carta texto documento arquivo ficheiro mensagem email artigo relatorio pagina imagem foto tabela dados me te se voce pode poderia quero favor obrigado obrigada ola anexo seguinte frase frases palavras \
    de het een dit dat deze die in op van voor met aan en of te is zijn was wat welk welke wie hoe mij me ik je jij u we wij ons brief tekst document bestand bericht mail artikel verslag pagina afbeelding foto tabel gegevens kun kunt kan wil alsjeblieft aub bedankt hallo geschreven bijlage volgende zin zinnen woorden \
    ten ta to tego tej tym tych te w we z ze na do od dla i oraz jest sa byl co jak jaki jaka jakie jakim mi mnie ja ty pan pani my list listu tekst tekstu dokument plik pliku wiadomosc mail artykul raport strona obraz zdjecie tabela dane prosze dziekuje czesc mozesz czy napisany napisana zdaniach slowach \
    это этот эта эти этого этой этом этому в во на о об от с со к и а по из у за мне меня я ты вы мы он она оно они что как какой какая какое каком кто письмо письма текст текста тексте документ файл файла сообщение статья статьи отчет страница изображение картинка фото таблица данные пожалуйста спасибо привет можешь можете написан написано написана \
    bu su o bir ve ile icin da de mi mu bana ben sen siz biz metin metni metnin mektup mektubu belge dosya dosyayi mesaj mail makale rapor sayfa resim foto tablo veri verileri lutfen tesekkurler merhaba yazilmis yazildi ne nasil hangi kim var misin misiniz \
    den det de denna detta dessa en ett i pa av for med till fran och eller ar var vad vilken vilket hur mig jag du ni vi brev brevet text texten dokument fil filen meddelande mejl artikel rapport sida bild foto tabell data snalla tack hej kan skriven skrivet";
/// Ideographs and kana that carry nothing of what a text is about.
pub(crate) const EMPTY_IDEOGRAPHS: &str = "这這是的了吗嗎请請我你您它个個一下段文章字本篇信给給把用写寫成里裡中有在和与呢啊吧能可以帮幫么什麼那此该說说看对封件句话話上面两几多少哪種种谢謝内容图圖片张張表格数据出来要想知道告诉訴わたし私君何書教方";

/// Words before a result's name that make it the thing to work on: "the mood of the summary".
pub(crate) const REFERRING: &str = "of in on from for about into that this der des dem vom von du de dans sur del della dello dell nel sul do da dos das no na van uit из от о в на z w ze den af av pa の 的";
/// Words by which one asks for something of it to be done rather than names a result.
pub(crate) const ARTICLES: &str =
    "the that this its your resulting der die das dem den des deiner ihrer la le l el il lo o a het de ten ta ту the";
