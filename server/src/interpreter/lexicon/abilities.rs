//! Asking for abilities a fleet may or may not have: so that a chain is found, or its absence is said.

/// Asking for another language.
pub(crate) const TRANSLATION: &[&str] = &[
    "translat*, into @lang, put ~ into @lang, put this in @lang, in @lang please, turn ~ into @lang, @lang version, @lang translation",
    "ubersetz*, ins @lang, ubertrag* ~ ins, auf @lang bitte, traduc*, traduis*, traduir*, en @lang s il, traduz*, traduci*, tradur*, traduzione, vertaal, vertalen, vertaling, vertaalt, przetlumacz*, tlumacz*, na @lang, перевод*, перевед*, переведи*, 翻译, 翻譯, 译成, 翻訳, 訳して, cevir, cevirir*, cevirisi, ceviri, cevirin, tercume, oversatt*, oversett*, oversaet*, 번역, ترجم, ترجمة, अनुवाद, แปล, dịch, terjemah*, переклад*, přelož*, preloz*, fordit*, traducere, kaanna",
];

/// Asking for the text in an image.
pub(crate) const OCR: &[&str] = &[
    "ocr, read* ~ scan*, read* the text, read* this text, read* ~ image*, read* ~ picture*, read* ~ photo*, read* ~ screenshot*, read* ~ sign, extract* ~ text from, extract* the text, text recognition, recogni* ~ text, text from ~ image*, text in ~ image*, text from images, text in ~ picture, text from ~ picture, text from ~ scan*, text in ~ scan*, text in ~ photo, text ~ out of, text on ~ sign, text on ~ photo, digiti* ~ scan, digiti* ~ page, transcribe ~ scan, transcribe ~ image, transcribe ~ page, transcribe ~ photo, optical character, characters in an image",
    "texterkennung, text erkennen, text aus ~ bild, text im bild, text auf ~ bild, lies ~ scan, lies ~ bild, lis ~ image, texte de l image, texte sur l image, extrai* ~ texte, texto de la imagen, extrae ~ texto, testo dall immagine, texto da imagem, tekst uit ~ afbeelding, tekst z obrazu, текст с картинки, распозна* текст, 识别文字, 文字识别, 文字を読み取って, metni oku",
];

/// Asking for the text of a recording.
pub(crate) const TRANSCRIPT: &[&str] = &[
    "transcri*, speech to text, speech recognition, write down what, write down ~ recording, what is said, what is being said, what does ~ recording say, dictation, subtitles, captions for, spoken words",
    "transkri*, abtippen, verschriftlich*, transcripcion, trascri*, расшифр*, транскри*, 转写, 转录, 文字起こし, 書き起こし, yaziya dok*",
];

/// Asking what an image shows.
pub(crate) const CAPTION: &[&str] = &[
    "caption*, describe ~ image, describe ~ picture, describe ~ photo, what is in ~ picture, what is in ~ image, what is in ~ photo, whats in ~ picture, whats in ~ image, whats in ~ photo, what does ~ picture show, what does ~ image show, what does ~ photo show, what is on ~ picture, what can you see, what do you see, who is in ~ picture, objects in, detect ~ object*, object detection, image description, faces, face detection",
    "bildbeschreibung, beschreibe ~ bild, was ist auf ~ bild, was zeigt ~ bild, was siehst du, decris ~ image, que montre ~ image, describe la imagen, que hay en la imagen, descrivi ~ immagine, descreva a imagem, beschrijf ~ afbeelding, opisz obraz*, opisz zdjecie, опиши картинку, опиши изображение, 描述图片, 图片里有什么, 画像を説明, resmi acikla",
];

/// Asking for a text without mistakes.
pub(crate) const CORRECTION: &[&str] = &[
    "spellcheck*, spell check*, spelling, grammar, proofread*, proof read*, typo, typos, correct ~ mistakes, correct ~ text, correct ~ errors, fix ~ mistakes, fix ~ errors, rewrite*, rephrase*, paraphrase*, reword*, polish ~ up, improve ~ writing, improve ~ text",
    "rechtschreib*, grammatik*, korrigier*, korrektur*, umformulier*, orthograph*, grammaire, corrige*, corrig*, reformul*, ortografi*, gramatic*, grammatica, grammatica*, spelling, verbeter ~ tekst, popraw*, gramatyk*, исправ*, орфограф*, грамматик*, 校对, 语法, 改写, 校正, 文法, dilbilgisi, yazim hatalar*, stavning, grammatik*",
];

/// Asking for the names in a text.
pub(crate) const ENTITIES: &[&str] = &[
    "named entit*, entity, entities, people mentioned, persons mentioned, names mentioned, places mentioned, who is mentioned, list ~ names, extract ~ names, find ~ names, extract ~ dates, extract ~ address*, extract ~ phone, email addresses, ner, organisations, organizations, anonymi*, redact*, personal data",
    "eigennamen, personennamen, welche personen, genannte personen, entites nommees, noms propres, entidades, entita, nazwy wlasne, имена, 实体, 人名, 固有表現, varliklar",
];

/// Asking for something that is not there yet.
pub(crate) const CREATION: &[&str] = &[
    "write ~ poem, poem about, write ~ haiku, haiku about, haiku, write ~ story, story about, tell ~ story, tell ~ joke, joke about, write ~ song, song about, lyrics, write ~ essay, essay about, essay on, write ~ code, write ~ program, write ~ script, write ~ function, write ~ letter, write ~ email, write ~ mail, write ~ reply, draft ~ reply, draft ~ letter, draft ~ email, draft ~ answer, reply to this, reply to ~ for me, answer this letter, answer this mail, answer this email, \
     compose ~ poem, compose ~ song, make up ~ story, generate ~ image, generate ~ picture, draw me, draw a, paint a, recipe*, python code, write ~ limerick, limerick*, write ~ blog, write ~ article, write ~ cover",
    "gedicht, schreib ~ gedicht, schreibe ~ geschichte, erzahl ~ witz, witz uber, schreib ~ antwort, beantworte ~ mail, beantworte ~ brief, schreib ~ brief, ecris ~ poeme, poeme, ecris ~ histoire, raconte ~ blague, blague, escribe ~ poema, poema, cuentame ~ chiste, chiste, escribe ~ cuento, scrivi ~ poesia, poesia, barzelletta, escreva ~ poema, piada, schrijf ~ gedicht, mop over, napisz ~ wiersz, wiersz o, dowcip, напиши стих*, стихотворени*, анекдот, 写一首, 写诗, 讲个笑话, 笑话, 詩を書いて, 冗談, siir yaz, fikra anlat, skriv ~ dikt, vits om",
];
