//! Asking for the language of a text, and the names of languages in several languages.

/// Asking which language something is in.
pub(crate) const LANGUAGE: &[&str] = &[
    "language*, what language, which language, language ~ written, written in which language, written in what language, langid, lang, whats this in, what is this in, whats it in, what is it in, \
     detect ~ language, identify ~ language, determine ~ language, guess ~ language, recogni* ~ language, name ~ language, \
     which tongue, what tongue, lingo, dialect, what is this written in, what is it written in, whats this written in, \
     is this @lang, is it @lang, is that @lang, is this in @lang, is it in @lang, is this written in @lang, is it written in @lang, is this even @lang, \
     is this text @lang, is the text @lang, is the text in @lang, is this text in @lang, this @lang or @lang, this is @lang or @lang, @lang or @lang, @lang or is it @lang",
    "sprache, sprachen, welche sprache, welcher sprache, sprache ~ geschrieben, sprache erkennen, erkenne ~ sprache, sprachlich, spracherkennung, \
     ist das @lang, ist dies @lang, ist es @lang, ist der text @lang, ist das auf @lang, @lang oder @lang",
    "langue, langues, quelle langue, dans quelle langue, en quelle langue, langue ~ ecrit, c est du @lang, est ce du @lang, est ce de l @lang, est ce que c est du @lang, \
     est ce en @lang, ecrit en quoi, c est en quoi, est en quoi, @lang ou @lang, du @lang ou du @lang, l @lang ou l @lang",
    "idioma, idiomas, que idioma, en que idioma, cual idioma, lengua, que lengua, es @lang, esta en @lang, es esto @lang, @lang o @lang, @lang u @lang",
    "lingua, lingue, che lingua, in che lingua, quale lingua, in quale lingua, e @lang, @lang oppure @lang",
    "que lingua, em que idioma, em que lingua, qual idioma, qual o idioma, qual e o idioma, isto e @lang, isso e @lang, esta em @lang, @lang ou @lang",
    "taal, talen, welke taal, in welke taal, taal ~ geschreven, is dit @lang, is het @lang, @lang of @lang",
    "jezyk, jezyka, jezyku, jezykiem, jaki jezyk, jakim jezyku, w jakim jezyku, po jakiemu, czy to @lang, czy to jest @lang, czy to po @lang, @lang czy @lang",
    "язык, языка, языке, языку, языком, каком языке, какой язык, на каком языке, какой это язык, это @lang, по @lang, @lang или @lang",
    "什么语言, 什麼語言, 哪种语言, 哪種語言, 何种语言, 语言, 語言, 语种, 語種, 什么话, 哪国语言, 哪國語言, 哪国文字, 什么文, 哪国话, 什么文字",
    "何語, 言語, なにご, なに語, 何の言語, どの言語, どこの言葉, 何の言葉, どこの国の言葉",
    "dil, dili, dilde, dilini, dilinde, dilin, dildir, hangi dil, hangi dilde, hangi dili, ne dilinde, bu @lang mi, @lang mi",
    "sprak, spraket, vilket sprak, pa vilket sprak, vilka sprak, ar det @lang, ar detta @lang, @lang eller @lang, sproget, hvilket sprog, sprog, hvilket sprak",
    "언어, 무슨 언어, 어느 언어, 어떤 언어, 무슨 말, 어느 나라 말",
    "لغة, اللغة, لغه, ما هي اللغة, أي لغة, بأي لغة, भाषा, किस भाषा, ภาษา, ภาษาอะไร, ngôn ngữ, tiếng gì, bahasa, bahasa apa, \
     мова, мовою, якою мовою, jazyk*, jakem jazyce, nyelv, nyelven, milyen nyelven, limba, ce limba, kieli, kielella, mika kieli, γλωσσα, ποια γλωσσα, שפה, באיזו שפה, زبان",
];

/// Names of languages: what `@lang` stands for.
pub(crate) const NAMES: &[&str] = &[
    "english german french spanish italian portuguese dutch polish russian chinese mandarin japanese turkish swedish danish norwegian finnish \
     korean arabic hebrew hindi greek latin czech slovak hungarian romanian bulgarian ukrainian serbian croatian catalan basque welsh irish \
     icelandic estonian latvian lithuanian vietnamese thai indonesian malay persian farsi urdu bengali tamil afrikaans esperanto swahili galician slovenian",
    "englisch deutsch franzosisch spanisch italienisch portugiesisch niederlandisch hollandisch polnisch russisch chinesisch japanisch turkisch \
     schwedisch danisch norwegisch finnisch koreanisch arabisch tschechisch ungarisch rumanisch griechisch latein lateinisch ukrainisch kroatisch",
    "anglais allemand francais espagnol italien portugais neerlandais polonais russe chinois japonais turc suedois danois norvegien coreen arabe grec",
    "ingles aleman frances espanol castellano italiano portugues neerlandes holandes polaco ruso chino japones turco sueco coreano griego",
    "inglese tedesco francese spagnolo portoghese olandese polacco russo cinese giapponese svedese danese norvegese",
    "alemao espanhol holandes polones russo chines sueco japonês",
    "engels duits frans spaans italiaans portugees nederlands pools russisch chinees japans turks zweeds deens noors",
    "angielski angielsku niemiecki niemiecku francuski francusku hiszpanski hiszpansku wloski wlosku portugalski polski polsku rosyjski rosyjsku chinski szwedzki",
    "английский английски английском немецкий немецки немецком французский французски испанский испански итальянский русский русски польский китайский",
    "ingilizce almanca fransizca ispanyolca italyanca portekizce felemenkce lehce rusca cince japonca turkce isvecce arapca",
    "engelska tyska franska spanska italienska portugisiska nederlandska polska ryska kinesiska japanska turkiska svenska danska norska finska engelsk tysk fransk svensk dansk norsk",
];

/// Languages by their codes, with the words for them: to choose among translators.
pub(crate) const CODES: &[(&str, &str)] = &[
    ("en", "english englisch anglais ingles inglese engels angielski английский 英语 ingilizce engelska"),
    ("de", "german deutsch deutsche allemand aleman tedesco alemao duits niemiecki немецкий 德语 almanca tyska"),
    ("fr", "french franzosisch francais frances francese frans francuski французский 法语 fransizca franska"),
    (
        "es",
        "spanish spanisch espagnol espanol castellano spagnolo espanhol spaans hiszpanski испанский 西班牙语 ispanyolca spanska",
    ),
    ("it", "italian italienisch italien italiano italiaans wloski итальянский 意大利语 italyanca italienska"),
    (
        "pt",
        "portuguese portugiesisch portugais portugues portoghese portugees portugalski португальский portekizce portugisiska",
    ),
    (
        "nl",
        "dutch niederlandisch hollandisch neerlandais neerlandes olandese holandes nederlands niderlandzki felemenkce nederlandska",
    ),
    ("pl", "polish polnisch polonais polaco polacco polones pools polski польский lehce polska"),
    ("ru", "russian russisch russe ruso russo rosyjski русский 俄语 rusca ryska"),
    ("zh", "chinese chinesisch chinois chino cinese chines chinees chinski китайский 中文 cince kinesiska mandarin"),
    ("ja", "japanese japanisch japonais japones giapponese japans japonski японский 日语 japonca japanska"),
    ("tr", "turkish turkisch turc turco turks turecki турецкий turkce turkiska"),
    ("sv", "swedish schwedisch suedois sueco svedese zweeds szwedzki шведский isvecce svenska"),
];
