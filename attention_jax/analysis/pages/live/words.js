"use strict";
// All that the page says, in each language. `say("key", {name: value})` fills {name}; elements with
// data-word="key" show a word, those with data-label="key" have it as their label. step_words.js and
// picture_words.js add theirs.
const WORDS = {
  en: {
    title: "Attention, live",
    lead: "A trained translator computes in this page. Type, look inside, break something.",
    language: "Language", model: "Model: {name} ({about})",
    type: "1. Type a sentence", sentence: "Sentence", examples: "Examples", translation: "Translation",
    waiting: "Starting…", empty: "Type a sentence above.",
    timing: "Computed in this page in {ms} ms, {tokens} tokens.",
    unknown: "Never seen in training: {words}. The model reads them as <unk>.",
    cut: "Cut: the model did not end its sentence.",
    long: "Only the first {most} tokens are read.",
    movedAbout: "Framed cells moved by 5 % or more with your changes.",
    alternatives: "Other translations, by beam search", score: "score",
    recordedSentence: "Recorded sentence",
    look: "2. Look at the attention", place: "Attention", layer: "Layer", head: "Head",
    encoder: "Encoder: source to source", decoder: "Decoder: written so far",
    cross: "Cross: translation to source",
    aboutEncoder: "Each token of the sentence gathers from the tokens of the sentence.",
    aboutDecoder: "Each token, while it is written, gathers from what was written before it.",
    aboutCross: "Each token, while it is written, gathers from the tokens of the sentence.",
    lines: "As lines", matrix: "As a matrix", queries: "looks", keys: "is looked at",
    scale: "0 (empty) to 1 (full color)", tooLarge: "Too large to be drawn.",
    weights: "Weights of “{token}”", weightOf: "Weight of {key} for {query}",
    drag: "Drag a bar, or use the arrow keys: the weight is held there, and the others of the row "
      + "share what is left.",
    noAttention: "This model has no attention here.",
    row: "Token {number}: {token}", chosen: "Token that looks",
    edit: "4. Change something",
    editLead: "Every change is computed at once; what differs is marked.",
    before: "Before", after: "After", same: "No token differs.", changed: "{count} tokens differ.",
    noEdits: "Nothing is changed yet.", reset: "Undo all changes",
    temperature: "Temperature of the softmax", sharp: "below 1: sharper", flat: "above 1: flatter",
    headsOn: "Heads that are on", all: "All",
    allOf: "{place}, layer {layer}: all heads", headOf: "{place}, layer {layer}, head {head}",
    sureAbout: "Below each token stands its probability, marked where it moved by 1 % or more.",
    pins: "Weights held", pin: "{query} to {key}: {weight} ({place}, layer {layer}, head {head})",
    remove: "Let go", tokens: "Exchange a token", replace: "Replace “{token}” by",
    lab: "5. Train one here",
    replay: "6. How it learned", replayLead: "The same sentence at each checkpoint that was kept.",
    replayStep: "Training step", loss: "Loss on the training data by step",
    replayAt: "Step {step}", replayMap: "The head chosen above, at this step",
    growth: "7. Why one vector falls short",
    growthLead: "The sentence above grows word by word in {count} models. Where one vector must hold "
      + "all of it, the end of a long sentence is lost first. Tokens that differ from those of the "
      + "first model are marked.",
    length: "Words read", growthRun: "Model", agreement: "Share of tokens as the first model has them, "
      + "by words read",
    recorded: "Recorded only: ",
    reasons: {
      attention: "the attention {name} has no form in this page.",
      recurrence: "the recurrence {name} has no form in this page.",
      option: "the option {name} has no form in this page.",
      tokenizer: "the tokenizer ({name}) was made elsewhere.",
      dtype: "the model computes in {name}.",
      range: "its weights exceed 16 bits.",
      kind: "the model {name} has no form in this page.",
      positions: "{name} patches are too many to compute while one looks.",
    },
    recordedRest: "What is shown was computed before; nothing can be typed or changed.",
  },
  es: {
    title: "La atención, en vivo",
    lead: "Un traductor entrenado calcula en esta página. Escribe, mira dentro, rompe algo.",
    language: "Idioma", model: "Modelo: {name} ({about})",
    type: "1. Escribe una frase", sentence: "Frase", examples: "Ejemplos", translation: "Traducción",
    waiting: "Empezando…", empty: "Escribe una frase arriba.",
    timing: "Calculado en esta página en {ms} ms, {tokens} símbolos.",
    unknown: "Nunca vistas al entrenar: {words}. El modelo las lee como <unk>.",
    cut: "Cortada: el modelo no terminó su frase.",
    long: "Solo se leen los primeros {most} símbolos.",
    movedAbout: "Las celdas con marco cambiaron en 5 % o más con tus cambios.",
    alternatives: "Otras traducciones, por búsqueda en haz", score: "puntuación",
    recordedSentence: "Frase grabada",
    look: "2. Mira la atención", place: "Atención", layer: "Capa", head: "Cabeza",
    encoder: "Codificador: de la frase a la frase", decoder: "Decodificador: lo ya escrito",
    cross: "Cruzada: de la traducción a la frase",
    aboutEncoder: "Cada símbolo de la frase reúne información de los símbolos de la frase.",
    aboutDecoder: "Cada símbolo, al escribirse, reúne información de lo escrito antes.",
    aboutCross: "Cada símbolo, al escribirse, reúne información de los símbolos de la frase.",
    lines: "Como líneas", matrix: "Como matriz", queries: "mira", keys: "es mirado",
    scale: "de 0 (vacío) a 1 (color pleno)", tooLarge: "Demasiado grande para dibujarla.",
    weights: "Pesos de «{token}»", weightOf: "Peso de {key} para {query}",
    drag: "Arrastra una barra o usa las flechas: el peso queda fijo, y los demás de la fila se "
      + "reparten lo que queda.",
    noAttention: "Este modelo no tiene atención aquí.",
    row: "Símbolo {number}: {token}", chosen: "Símbolo que mira",
    edit: "4. Cambia algo",
    editLead: "Cada cambio se calcula al momento; lo que difiere queda marcado.",
    before: "Antes", after: "Después", same: "No difiere ningún símbolo.",
    changed: "Difieren {count} símbolos.",
    noEdits: "Todavía no hay cambios.", reset: "Deshacer todos los cambios",
    temperature: "Temperatura del softmax", sharp: "menos de 1: más nítido",
    flat: "más de 1: más plano",
    headsOn: "Cabezas encendidas", all: "Todas",
    allOf: "{place}, capa {layer}: todas las cabezas",
    headOf: "{place}, capa {layer}, cabeza {head}",
    sureAbout: "Bajo cada símbolo está su probabilidad, marcada donde cambió en 1 % o más.",
    pins: "Pesos fijos", pin: "de {query} a {key}: {weight} ({place}, capa {layer}, cabeza {head})",
    remove: "Soltar", tokens: "Cambia un símbolo", replace: "Cambiar «{token}» por",
    lab: "5. Entrena uno aquí",
    replay: "6. Cómo aprendió", replayLead: "La misma frase en cada punto guardado del entrenamiento.",
    replayStep: "Paso de entrenamiento", loss: "Pérdida con los datos de entrenamiento, por paso",
    replayAt: "Paso {step}", replayMap: "La cabeza elegida arriba, en este paso",
    growth: "7. Por qué un vector no basta",
    growthLead: "La frase de arriba crece palabra a palabra en {count} modelos. Donde un solo vector "
      + "debe contenerla entera, lo primero que se pierde es el final de una frase larga. Los símbolos "
      + "que difieren de los del primer modelo quedan marcados.",
    length: "Palabras leídas", growthRun: "Modelo", agreement: "Parte de los símbolos que coinciden "
      + "con los del primer modelo, según las palabras leídas",
    recorded: "Solo grabado: ",
    reasons: {
      attention: "la atención {name} no tiene forma en esta página.",
      recurrence: "la recurrencia {name} no tiene forma en esta página.",
      option: "la opción {name} no tiene forma en esta página.",
      tokenizer: "el tokenizador ({name}) se hizo en otro lugar.",
      dtype: "el modelo calcula en {name}.",
      range: "sus pesos no caben en 16 bits.",
      kind: "el modelo {name} no tiene forma en esta página.",
      positions: "{name} trozos son demasiados para calcular mientras se mira.",
    },
    recordedRest: "Lo que se ve se calculó antes; no se puede escribir ni cambiar nada.",
  },
};

let language = (navigator.language ?? "en").startsWith("es") ? "es" : "en";

/** The words of a key such as "steps.query", with {names} filled. */
function say(key, values = {}) {
  const found = key.split(".").reduce((node, name) => node[name], WORDS[language]);
  return found.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Puts the words of the language wherever an element asks for them. */
function putWords(node = document) {
  document.documentElement.lang = language;
  document.title = say("title");
  for (const one of node.querySelectorAll("[data-word]")) one.textContent = say(one.dataset.word);
  for (const one of node.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
  }
}
