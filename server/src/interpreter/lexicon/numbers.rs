//! Asking for the digit in an image, or for the statistics of a table.

/// Asking which digit an image shows.
pub(crate) const DIGIT: &[&str] = &[
    "digit*, numeral*, handwritten number, hand written number, handwritten digit, what number, which number, what numbers, the number in, the number on, number ~ picture, number ~ image, number ~ photo, recogni* ~ number, read ~ number, identify ~ number, \
     number ~ written, number ~ drawn, number is this, number is that, number is it, number did, what figure is, is this a 7, is it a 1 or a 7, is this a 1 or a 7, a 1 or a 7, a 3 or an 8, a 4 or a 9, a 6 or a 0, 1 or 7, 3 or 8, 5 or 6, 4 or 9, ?number, ?numbers, what does ~ handwriting say, handwriting, mnist",
    "ziffer, ziffern, welche zahl, welche nummer, zahl auf, zahl im bild, handgeschriebene zahl, handschriftliche zahl, zahl erkennen, erkenne ~ zahl, zahl ist, die zahl, ?zahl, ?zahlen",
    "chiffre, chiffres, quel chiffre, quel numero, quel nombre, nombre manuscrit, nombre sur, ?nombre",
    "digito*, cifra, cifras, que numero, cual numero, numero escrito, numero manuscrito, numero en la, numero de la imagen, numero hay, ?numero",
    "cifre, che numero, quale numero, numero scritto, numero nell*, ?numeri",
    "algarismo*, qual numero, qual o numero, qual e o numero, numero na imagem, numero manuscrito, numero escrito",
    "cijfer, cijfers, welk getal, welk nummer, getal op, ?getal",
    "cyfra, cyfry, cyfre, cyfr, jaka cyfra, jaka to cyfra, jaka liczba, jaka to liczba, ktora liczba, ?liczba, ?liczbe",
    "цифр*, какое число, какая цифра, какой номер, число на, ?число",
    "数字, 數字, 什么数, 哪个数, 几号, 手写数, 这是几, 是几, 写的是几, ?号码",
    "数字, 何の数, なんの数, どの数, 手書きの数, 何番, 何の番号",
    "rakam*, hangi sayi, hangi numara, el yazisi sayi, kac yaziyor, ?sayi",
    "siffra, siffror, siffran, vilket nummer, vilket tal, vilken siffra, hvilket tall, hvilket tal, ?talet",
    "숫자, 무슨 숫자, رقم, الرقم, ما الرقم, अंक, संख्या, ตัวเลข, chữ số, angka, цифра, cislice, szamjegy, cifra este, numero, luku",
];

/// Asking for the statistics of a table.
pub(crate) const TABLE: &[&str] = &[
    "statistic*, stats, stat, summary statistic*, descriptive statistic*, summary stats, basic stats, mean value*, means of, mean of, mean and, mean per, mean for, the mean, column mean*, ?mean, average*, avg, averages, median*, mode of, standard deviation*, std dev, stddev, stdev, std, variance*, quartile*, quantile*, percentile*, \
     minimum*, maximum*, min max, min and max, min/max, ?min, ?max, the range of, highest value*, lowest value*, largest value*, smallest value*, highest and lowest, column*, rows, row count, number of rows, number of columns, number of lines, how many rows, how many columns, how many lines, how many records, how many entries, count the rows, columns ~ types, \
     describe ~ table, describe ~ data, describe ~ dataset, describe ~ csv, describe ~ spreadsheet, summari* ~ table, summari* ~ csv, summari* ~ dataset, summari* ~ spreadsheet, summari* ~ data, summary of ~ table, summary of ~ csv, summary of ~ data, summary of ~ spreadsheet, overview of ~ table, overview of ~ data, overview of ~ csv, analy* ~ table, analy* ~ csv, analy* ~ spreadsheet, analy* ~ dataset, analy* ~ data, profile ~ data, profile ~ table, data profile, crunch the numbers, crunch ~ numbers, number* crunch*, run the numbers, totals, total of, the total, sum of, the sum, sums of, sum per, add up, sigma, distribution of, histogram, missing values, null values, outlier*, df.describe, csvstat*, csv stats, csv statistic*",
    "statistik*, statistisch*, mittelwert*, durchschnitt*, mittel der, arithmetisches mittel, standardabweichung*, varianz, spalte*, spalten, zeilenzahl, wie viele zeilen, wieviele zeilen, anzahl der zeilen, anzahl zeilen, zeilen, summe, summen, kennzahl*, beschreibe ~ tabelle, beschreib ~ tabelle, tabelle auswerten, werte ~ tabelle aus, tabelle zusammenfass*, fass* ~ tabelle zusammen, fasse ~ daten zusammen, werte ~ daten aus, hochste* wert*, niedrigste* wert*, grosste* wert*, kleinste* wert*, min und max, minimal*, maximal*, auswertung der tabelle",
    "statistique*, moyenne*, mediane*, ecart type, ecarts types, ecart-type, variance, colonne*, nombre de lignes, combien de lignes, somme, sommes, total des, decris ~ tableau, decris ~ donnees, decrire ~ tableau, resume* ~ tableau, analyse* ~ tableau, analyse* ~ donnees, valeur maximale, valeur minimale",
    "estadistic*, promedio*, media de, la media, media y, medias, media por, mediana*, desviacion estandar, desviacion tipica, varianza, columna*, cuantas filas, numero de filas, filas, suma de, sumas, la suma, total de, describe la tabla, describe los datos, resum* ~ tabla, resum* ~ datos, analiza* ~ tabla, analiza* ~ datos, maximo*, minimo*, valor maximo, valor minimo",
    "statistic*, media della, media delle, media dei, medie, la media, mediana, deviazione standard, scarto tipo, varianza, colonna, colonne, quante righe, righe, numero di righe, somma, somme, totale, descrivi ~ tabella, descrivi ~ dati, riassumi ~ tabella, analizza* ~ tabella, analizza* ~ dati, massimo, minimo, massimi, minimi",
    "estatistic*, media das, media da, medias, a media, media e, mediana, desvio padrao, variancia, coluna, colunas, quantas linhas, linhas, numero de linhas, soma, somas, total das, descreva ~ tabela, descreva ~ dados, resuma ~ tabela, analis* ~ tabela, analis* ~ dados, maximo*, minimo*",
    "statistiek*, gemiddeld*, mediaan, standaardafwijking*, standaarddeviatie, variantie, kolom, kolommen, hoeveel rijen, aantal rijen, rijen, som van, som, totalen, beschrijf ~ tabel, beschrijf ~ gegevens, analyseer ~ tabel, vat ~ tabel samen, hoogste waarde, laagste waarde",
    "statystyk*, sredni*, mediana, mediane, odchyleni*, wariancj*, kolumn*, ile wierszy, liczba wierszy, wiersze, suma, sume, sumy, opisz tabele, opisz dane, podsumuj tabele, podsumuj dane, przeanalizuj dane, przeanalizuj tabele, maksim*, maksym*, minimaln*, najwieksza wartosc, najmniejsza wartosc",
    "статистик*, среднее, средние, средняя, средний, средних, среднюю, медиан*, отклонени*, дисперси*, столб*, колонк*, колонок, сколько строк, число строк, количество строк, строк, сумма, сумму, суммы, опиши таблиц*, опиши данные, проанализируй таблиц*, проанализируй данные, максимум*, минимум*, максимальн*, минимальн*",
    "统计, 統計, 平均, 平均值, 平均数, 均值, 中位数, 中位數, 标准差, 標準差, 方差, 每列, 各列, 列, 多少行, 几行, 行数, 总和, 总计, 求和, 最大值, 最小值, 最大, 最小, 描述表格, 分析表格, 分析数据, 总结表格, 数据概况",
    "統計, 平均, 平均値, 中央値, 標準偏差, 分散, 列, 各列, 何行, 行数, 合計, 最大値, 最小値, 最大, 最小, 集計, 表を説明, 表を分析, データを分析, データを要約, 表を要約",
    "istatistik*, ortalama*, medyan*, ortanca, standart sapma*, varyans, sutun*, kac satir, satir sayisi, satirlar*, toplam*, tabloyu acikla, tabloyu analiz, verileri analiz, tabloyu ozetle, verileri ozetle, maksimum*, en buyuk deger, en kucuk deger",
    "statistik*, medelvarde*, genomsnitt*, medeltal, medianen, standardavvikelse*, varians, kolumn*, hur manga rader, antal rader, rader, summan, summor, beskriv tabellen, beskriv datan, analysera tabellen, analysera datan, sammanfatta tabellen, gennemsnit*, gjennomsnitt*, kolonne*, hogsta varde*, lagsta varde*",
    "통계, 평균, 중앙값, 표준편차, 최댓값, 최솟값, 합계, 열, إحصاء*, إحصائيات, متوسط, المتوسط, المعدل, आँकड़े, औसत, สถิติ, ค่าเฉลี่ย, thống kê, trung bình, statistik, rata rata, середнє, prumer*, atlag*, statisztika*, medie, mediile, keskiarvo*, tilasto*, μεσος ορος, στατιστικα, ממוצע, סטטיסטיקה",
];
