"use strict";
// What the page says while it steps through a row. A step that only some attentions have is named as
// normalizing.js names it.
Object.assign(WORDS.en, {
  step: "3. Step through one token",
  stepLead: "How the head chosen above computes the row of “{token}”, number by number.",
  back: "Back", next: "Next", stepName: "Step {number} of {count}: {name}",
  steps: {
    query: "query", keys: "keys", products: "products", scale: "scale", mask: "mask",
    softmax: "softmax", sinkPowers: "powers, and a sink", sinkShares: "shares",
    largest: "the largest scores", softmaxOfThese: "softmax of these", shifted: "below the largest",
    support: "which keys stay", threshold: "threshold", halved: "below the largest, halved",
    heights: "which keys stay", squares: "squares", positive: "what is above 0",
    divided: "divided by the keys", lessLog: "less a logarithm", raised: "bias", sigmoid: "sigmoid",
    held: "held by hand", sum: "weighted sum",
  },
  aboutSteps: {
    query: "The query q: what “{token}” looks for, as {width} numbers.",
    keys: "The keys k: what each token offers to be found by. Each has {width} numbers too.",
    products: "Each number of q times the same number of k, all added up: q · k. Choose a key to see "
      + "its products.",
    productsOther: "This attention ({name}) has another score than a dot product: one function of "
      + "one query and one key.",
    scale: "Divided by the square root of {width}, so that scores keep their size.",
    scaleOther: "The score as {name} has it, positions included.",
    mask: "Keys that may not be seen are hidden: padding, and while writing all that comes later.",
    softmax: "e to the power of each score, divided by their sum: weights that add up to {total}.",
    sinkPowers: "e to the power of each score. A sink stands beside the keys as one more score, "
      + "{sink}, so e^{sink} = {power}; with it the sum is {sum}.",
    sinkShares: "Each power divided by {sum}. The sink takes {rest}, which goes to no key, so weights "
      + "add up to {total}.",
    largest: "For each key, how many scores are larger. Keys with fewer than {k} larger ones stay, "
      + "{count} here: ties all stay.",
    softmaxOfThese: "e to the power of each score that stays, divided by their sum. All other weights "
      + "are exactly 0; together they add up to {total}.",
    shifted: "z: each score minus the largest one, {largest}. Weights depend on differences alone.",
    support: "For each key: how many z are at least as large as its own, and their sum. It stays "
      + "where 1 + count × z is above that sum: {count} here. All others get weight 0.",
    threshold: "The threshold: (sum of the z that stay, {sum}, minus 1) / {count} = {threshold}. A "
      + "weight is z minus the threshold, so they add up to {total}. No exponential is needed.",
    halved: "z: each score minus the largest one, {largest}, divided by 2.",
    heights: "For each key: how many z are at least as large as its own, their mean, and the threshold "
      + "that these alone would have. It stays where z is not below; the largest threshold of those "
      + "that stay, {threshold}, holds.",
    squares: "A weight is the square of z minus {threshold}, and 0 below it: they add up to {total}.",
    positive: "Scores below 0 become 0; the others stay as they are.",
    divided: "Divided by the number of keys that are seen, {count}. Keys do not compete: these weights "
      + "add up to {total}, not to 1.",
    lessLog: "Each score minus the logarithm of the number of keys that are seen: {count}, so "
      + "{bias} is added.",
    raised: "Each score plus the bias of this attention, {bias}.",
    sigmoid: "1 / (1 + e^−x) of each number, by itself. Keys do not compete: these weights add up to "
      + "{total}.",
    held: "Weights that you hold stay where they are; the others share what is left: {total} in all.",
    sum: "Each value v times its weight, all added up: what this head passes on.",
  },
  columns: {
    power: "e^score", weight: "weight", larger: "larger ones", stays: "stays", z: "z",
    count: "count", sum: "sum", test: "1 + count × z", mean: "mean", height: "threshold",
    positive: "max(score, 0)", raised: "x", held: "held",
  },
  stays: {yes: "yes", no: "no"}, sink: "(sink)",
  token: "token", product: "q · k", scoreColumn: "score", seen: "seen", yes: "yes", no: "hidden",
  value: "value v", output: "out", queryRow: "q", sumOf: "sum", productsOf: "q × k of “{token}”",
});
Object.assign(WORDS.es, {
  step: "3. Un símbolo, paso a paso",
  stepLead: "Cómo calcula la cabeza elegida arriba la fila de «{token}», número a número.",
  back: "Atrás", next: "Siguiente", stepName: "Paso {number} de {count}: {name}",
  steps: {
    query: "consulta", keys: "claves", products: "productos", scale: "escala", mask: "máscara",
    softmax: "softmax", sinkPowers: "potencias y un sumidero", sinkShares: "partes",
    largest: "las puntuaciones mayores", softmaxOfThese: "softmax de estas",
    shifted: "por debajo de la mayor", support: "qué claves quedan", threshold: "umbral",
    halved: "por debajo de la mayor, a la mitad", heights: "qué claves quedan", squares: "cuadrados",
    positive: "lo que pasa de 0", divided: "dividido por las claves", lessLog: "menos un logaritmo",
    raised: "sesgo", sigmoid: "sigmoide", held: "fijado a mano", sum: "suma ponderada",
  },
  aboutSteps: {
    query: "La consulta q: lo que busca «{token}», en {width} números.",
    keys: "Las claves k: por lo que cada símbolo se deja encontrar. También tienen {width} números.",
    products: "Cada número de q por el mismo número de k, y todo sumado: q · k. Elige una clave para "
      + "ver sus productos.",
    productsOther: "Esta atención ({name}) no puntúa con un producto escalar, sino con otra función "
      + "de una consulta y una clave.",
    scale: "Dividido por la raíz cuadrada de {width}, para que las puntuaciones conserven su tamaño.",
    scaleOther: "La puntuación como la tiene {name}, con las posiciones.",
    mask: "Se ocultan las claves que no se pueden ver: el relleno y, al escribir, todo lo posterior.",
    softmax: "e elevado a cada puntuación, dividido por la suma: pesos que suman {total}.",
    sinkPowers: "e elevado a cada puntuación. Junto a las claves hay un sumidero, que es una puntuación "
      + "más, {sink}: e^{sink} = {power}; con él, la suma es {sum}.",
    sinkShares: "Cada potencia dividida por {sum}. El sumidero se lleva {rest}, que no va a ninguna "
      + "clave: los pesos suman {total}.",
    largest: "De cada clave, cuántas puntuaciones son mayores. Quedan las que tienen menos de {k} "
      + "mayores, aquí {count}: los empates quedan todos.",
    softmaxOfThese: "e elevado a cada puntuación que queda, dividido por la suma. Los demás pesos son "
      + "exactamente 0; juntos suman {total}.",
    shifted: "z: cada puntuación menos la mayor, {largest}. Solo cuentan las diferencias.",
    support: "De cada clave: cuántas z son al menos tan grandes como la suya, y su suma. Queda donde "
      + "1 + número × z supera esa suma: aquí {count}. Las demás reciben el peso 0.",
    threshold: "El umbral: (suma de las z que quedan, {sum}, menos 1) / {count} = {threshold}. Un peso "
      + "es z menos el umbral, y así suman {total}. No hace falta ninguna exponencial.",
    halved: "z: cada puntuación menos la mayor, {largest}, dividida por 2.",
    heights: "De cada clave: cuántas z son al menos tan grandes como la suya, su media y el umbral que "
      + "tendrían solo ellas. Queda donde z no está por debajo; vale el mayor umbral de las que "
      + "quedan, {threshold}.",
    squares: "Un peso es el cuadrado de z menos {threshold}, y 0 por debajo: suman {total}.",
    positive: "Las puntuaciones menores que 0 pasan a ser 0; las demás quedan como están.",
    divided: "Dividido por el número de claves visibles, {count}. Las claves no compiten: estos pesos "
      + "suman {total}, no 1.",
    lessLog: "Cada puntuación menos el logaritmo del número de claves visibles: {count}, así que se "
      + "suma {bias}.",
    raised: "Cada puntuación más el sesgo de esta atención, {bias}.",
    sigmoid: "1 / (1 + e^−x) de cada número, por separado. Las claves no compiten: estos pesos suman "
      + "{total}.",
    held: "Los pesos que fijas se quedan como están; los demás se reparten lo que queda: en total "
      + "{total}.",
    sum: "Cada valor v por su peso, y todo sumado: lo que esta cabeza entrega.",
  },
  columns: {
    power: "e^puntuación", weight: "peso", larger: "mayores", stays: "queda", z: "z",
    count: "número", sum: "suma", test: "1 + número × z", mean: "media", height: "umbral",
    positive: "máx(puntuación, 0)", raised: "x", held: "fijado",
  },
  stays: {yes: "sí", no: "no"}, sink: "(sumidero)",
  token: "símbolo", product: "q · k", scoreColumn: "puntuación", seen: "visible", yes: "sí",
  no: "oculto", value: "valor v", output: "salida", queryRow: "q", sumOf: "suma",
  productsOf: "q × k de «{token}»",
});
