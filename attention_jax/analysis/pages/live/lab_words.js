"use strict";
// All text of the lab, by language; `{name}` is filled in.
(() => {
  const en = {
    title: "Training lab: your own score",
    lead: "Three small models learn to write a list of digits backwards, here, on your machine. "
      + "Attention asks of each pair of a query q and a key k how well they fit: the score. "
      + "Write the score as one line of JavaScript, and train with it.",
    preset: "Known scores",
    presets: {dot: "dot product", scaled: "scaled dot product", additive: "additive",
      distance: "negative squared distance", cosine: "cosine", own: "my own"},
    line: "Score of one query and one key",
    help: "What may stand in the line",
    helpText: "q and k are vectors of d = {d} numbers; the score must be one number. "
      + "+ − * / ** work on vectors, number by number. Functions: {functions}. With a third name, "
      + "(q, k, p) => …, p.v is a learned vector and p.W, with a capital, a learned matrix; "
      + "dot(p.W, q) multiplies them. Math.sqrt and q.dot(k) work too, and "
      + "(q, k) => { const z = q - k; return -dot(z, z) }.",
    where: "The score stands at all four places of attention: in the Transformer, where it reads, "
      + "where it writes, and where it looks from the one to the other; and in the GRU with attention.",
    models: "Models",
    names: {transformer: "Transformer", gruAttention: "GRU with attention", gru: "GRU without attention"},
    short: {transformer: "Transformer", gruAttention: "GRU + attention", gru: "GRU"},
    about: {
      transformer: "Every symbol looks at every other.",
      gruAttention: "Reads from left to right, and looks back at every place.",
      gru: "Reads from left to right into one vector of {d} numbers, and writes from it alone.",
    },
    train: "Train", stop: "Stop", go: "Go on", again: "Start again with another seed",
    good: "The score can be trained.",
    goodLearned: "The score can be trained; it learns {names}.",
    unused: "The score can be trained, but does not look at {names}.",
    checking: "Trying the score …",
    other: "The models train with {text}. “Start again” takes the new line.",
    idle: "Not trained yet.", starting: "Preparing …",
    training: "Step {steps}, {seconds} s, seed {seed}.",
    stopped: "Stopped at step {steps} after {seconds} s, seed {seed}.",
    ended: "Ended at step {steps} after {seconds} s, seed {seed}.",
    broken: "The loss of this model is no longer a number; it has stopped. Another seed or a score "
      + "of smaller numbers may help.",
    failed: "Training stopped: {message}",
    exact: "{share} of lists right", exactNone: "not measured yet",
    exactHelp: "of {count} fresh lists of 1 to {longest} digits; right is a list without any mistake",
    reached: "95 % after {steps} steps and {seconds} s",
    loss: "loss {loss}",
    matrix: "Attention while it reverses {list}",
    matrixAxes: "rows: written; columns: read",
    matrixSays: "{name}: for each written symbol the symbol looked at most, and its weight. {pairs}",
    matrixPair: "{row}: {column}, {weight}",
    noMatrix: "No attention, so nothing to draw: all that was read is in one vector.",
    end: "end",
    curveLoss: "Loss (nats per symbol)", curveExact: "Lists without a mistake (%)", steps: "step",
    curveSays: "{title}, by {x}. Last: {last}",
    lengths: "Why RNNs fall short: lists that grow",
    lengthsLead: "The models were trained on lists of up to {longest} digits. Measure how often they "
      + "are right as the list grows, up to {most}.",
    measure: "Measure by length", measuring: "Measuring …",
    lengthsFirst: "Train first, then measure.",
    lengthsDone: "Measured at step {steps}: {count} fresh lists of each length.",
    lengthsAfter: "The GRU without attention has the same one vector for every list: the longer the "
      + "list, the less of each digit fits. With attention nothing must be kept, and each digit is looked up. "
      + "Beyond {longest} digits all three are on new ground: the Transformer has never trained the vectors of "
      + "those places, and the GRUs have never counted so far.",
    curveLengths: "Lists without a mistake (%)", length: "digits in the list",
    trained: "longest in training",
    grow: "Digits in the list", list: "List", wanted: "Backwards",
    mistakesHere: "{count} wrong", none: "(nothing)", right: "right",
    legend: "weight 0 to 1",
    mistakes: {
      empty: "The line is empty. Begin with (q, k) =>.",
      arrow: "Begin with the names of a query and a key: (q, k) => …",
      count: "The score takes (q, k) or (q, k, p); values named here: {count}.",
      twice: "{name} names two of the values; each needs its own name.",
      character: "Place {at}: {found} has no meaning here.",
      expected: "Place {at}: {wanted} should stand here, not {found}.",
      end: "The line ends where {wanted} should follow.",
      rest: "Place {at}: nothing may follow the expression; {found} does.",
      unknown: "Place {at}: {name} is not known.",
      near: "Is {near} meant?",
      uncalled: "Place {at}: {name} is a function; write {name}(…).",
      bare: "Place {at}: {name} holds learned values; name one, such as {name}.v.",
      member: "Place {at}: .{name} is not known here.",
      given: "Place {at}: {name} takes {count} value(s), and got {got}.",
      shapes: "Place {at}: {name} can't take the shapes {left} and {right}.",
      many: "The score must be one number; this gives {count}. Use sum(…) or dot(…).",
      value: "The score gives no finite number for some q and k, but {found}.",
      gradient: "The slope of the score is no finite number for some q and k, but {found}; so it "
        + "can't be trained.",
      failed: "The score can't be computed: {message}",
    },
    wanted_: {name: "a name", value: "a number, a name or (", return: "return"},
  };

  const es = {
    title: "Taller de entrenamiento: tu propia puntuación",
    lead: "Tres modelos pequeños aprenden a escribir al revés una lista de cifras, aquí, en tu equipo. "
      + "La atención pregunta por cada par de una consulta q y una clave k cuánto encajan: es la puntuación. "
      + "Escribe la puntuación en una línea de JavaScript y entrena con ella.",
    preset: "Puntuaciones conocidas",
    presets: {dot: "producto escalar", scaled: "producto escalar escalado", additive: "aditiva",
      distance: "distancia al cuadrado, negativa", cosine: "coseno", own: "la mía"},
    line: "Puntuación de una consulta y una clave",
    help: "Qué puede haber en la línea",
    helpText: "q y k son vectores de d = {d} números; la puntuación debe ser un solo número. "
      + "+ − * / ** operan con vectores, número a número. Funciones: {functions}. Con un tercer nombre, "
      + "(q, k, p) => …, p.v es un vector que se aprende y p.W, con mayúscula, una matriz que se aprende; "
      + "dot(p.W, q) los multiplica. También valen Math.sqrt y q.dot(k), y "
      + "(q, k) => { const z = q - k; return -dot(z, z) }.",
    where: "La puntuación se usa en los cuatro lugares con atención: en el Transformer, donde lee, donde "
      + "escribe y donde mira de lo uno a lo otro; y en la GRU con atención.",
    models: "Modelos",
    names: {transformer: "Transformer", gruAttention: "GRU con atención", gru: "GRU sin atención"},
    short: {transformer: "Transformer", gruAttention: "GRU + atención", gru: "GRU"},
    about: {
      transformer: "Cada símbolo mira a todos los demás.",
      gruAttention: "Lee de izquierda a derecha y vuelve a mirar cada posición.",
      gru: "Lee de izquierda a derecha hasta un solo vector de {d} números, y escribe solo con él.",
    },
    train: "Entrenar", stop: "Parar", go: "Seguir", again: "Empezar de nuevo con otra semilla",
    good: "La puntuación se puede entrenar.",
    goodLearned: "La puntuación se puede entrenar; aprende {names}.",
    unused: "La puntuación se puede entrenar, pero no mira {names}.",
    checking: "Probando la puntuación …",
    other: "Los modelos se entrenan con {text}. «Empezar de nuevo» toma la línea nueva.",
    idle: "Aún sin entrenar.", starting: "Preparando …",
    training: "Paso {steps}, {seconds} s, semilla {seed}.",
    stopped: "Parado en el paso {steps} tras {seconds} s, semilla {seed}.",
    ended: "Terminado en el paso {steps} tras {seconds} s, semilla {seed}.",
    broken: "La pérdida de este modelo ya no es un número; se ha parado. Otra semilla, o una "
      + "puntuación de números más pequeños, puede ayudar.",
    failed: "El entrenamiento se ha parado: {message}",
    exact: "{share} de listas bien", exactNone: "aún sin medir",
    exactHelp: "de {count} listas nuevas de 1 a {longest} cifras; está bien la lista sin ningún error",
    reached: "95 % tras {steps} pasos y {seconds} s",
    loss: "pérdida {loss}",
    matrix: "Atención al invertir {list}",
    matrixAxes: "filas: lo escrito; columnas: lo leído",
    matrixSays: "{name}: por cada símbolo escrito, el símbolo más mirado y su peso. {pairs}",
    matrixPair: "{row}: {column}, {weight}",
    noMatrix: "Sin atención no hay nada que dibujar: todo lo leído está en un vector.",
    end: "fin",
    curveLoss: "Pérdida (nats por símbolo)", curveExact: "Listas sin error (%)", steps: "paso",
    curveSays: "{title}, por {x}. Últimos valores: {last}",
    lengths: "Por qué las RNN se quedan cortas: listas que crecen",
    lengthsLead: "Los modelos se entrenaron con listas de hasta {longest} cifras. Mide con qué frecuencia "
      + "aciertan cuando la lista crece, hasta {most}.",
    measure: "Medir por longitud", measuring: "Midiendo …",
    lengthsFirst: "Primero entrena; después, mide.",
    lengthsDone: "Medido en el paso {steps}: {count} listas nuevas de cada longitud.",
    lengthsAfter: "La GRU sin atención tiene el mismo único vector para cualquier lista: cuanto más larga, "
      + "menos cabe de cada cifra. Con atención no hay que guardar nada: cada cifra se consulta. "
      + "Más allá de {longest} cifras, los tres pisan terreno nuevo: el Transformer nunca ha entrenado los "
      + "vectores de esas posiciones, y las GRU nunca han contado tan lejos.",
    curveLengths: "Listas sin error (%)", length: "cifras de la lista",
    trained: "máximo al entrenar",
    grow: "Cifras de la lista", list: "Lista", wanted: "Al revés",
    mistakesHere: "{count} mal", none: "(nada)", right: "bien",
    legend: "peso de 0 a 1",
    mistakes: {
      empty: "La línea está vacía. Empieza por (q, k) =>.",
      arrow: "Empieza por los nombres de una consulta y una clave: (q, k) => …",
      count: "La puntuación toma (q, k) o (q, k, p); valores nombrados aquí: {count}.",
      twice: "{name} nombra dos de los valores; cada uno necesita su nombre.",
      character: "Posición {at}: {found} no tiene sentido aquí.",
      expected: "Posición {at}: aquí debería haber {wanted}, no {found}.",
      end: "La línea termina donde debería seguir {wanted}.",
      rest: "Posición {at}: tras la expresión no puede seguir nada, y sigue {found}.",
      unknown: "Posición {at}: no se conoce {name}.",
      near: "¿Quizá {near}?",
      uncalled: "Posición {at}: {name} es una función; escribe {name}(…).",
      bare: "Posición {at}: {name} contiene lo aprendido; nombra un valor, como {name}.v.",
      member: "Posición {at}: aquí no se conoce .{name}.",
      given: "Posición {at}: {name} toma {count} valor(es), y hay {got}.",
      shapes: "Posición {at}: {name} no admite las formas {left} y {right}.",
      many: "La puntuación debe ser un solo número; esto da {count}. Usa sum(…) o dot(…).",
      value: "Para algunos q y k la puntuación no da un número finito, sino {found}.",
      gradient: "Para algunos q y k la pendiente de la puntuación no es un número finito, sino {found}; "
        + "por eso no se puede entrenar.",
      failed: "La puntuación no se puede calcular: {message}",
    },
    wanted_: {name: "un nombre", value: "un número, un nombre o (", return: "return"},
  };

  const filled = (text, values) =>
    text.replace(/\{(\w+)\}/g, (all, name) => name in values ? String(values[name]) : all);

  /**
   * The words of a language, as functions of what they fill in.
   *
   * @returns {text(path, values), mistake(error), number(x, digits), percent(share)}.
   */
  function speaker(language) {
    const words = Lab.words[language] ?? Lab.words.en;
    const text = (path, values = {}) =>
      filled(path.split(".").reduce((found, name) => found[name], words), values);
    const number = (x, digits = 0) => x.toLocaleString(language,
      {minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false});
    const percent = share => `${number(100 * share)} %`;

    function mistake(error) {
      if (!(error instanceof Lab.score.Mistake)) return text("mistakes.failed", {message: error.message ?? error});
      const {kind, values} = error;
      const wanted = values.wanted && (words.wanted_[values.wanted] ?? `“${values.wanted}”`);
      const said = text(`mistakes.${kind}`, {...values, wanted});
      return values.near ? `${said} ${text("mistakes.near", values)}` : said;
    }
    return {text, mistake, number, percent};
  }

  Lab.words = {en, es};
  Lab.speaker = speaker;
})();
