"use strict";
// What the page of a model of speech says otherwise, or beside, in each language.
Object.assign(WORDS.en, {
  title: "Attention on speech, played",
  lead: "Play a recording, and see where a trained model listens as it writes.",
  choose: "1. Choose a recording and play it", recording: "Recording", heard: "Heard", truth: "Said:",
  play: "The recording", look: "2. Where it listens",
  encoder: "Encoder: moment to moment", cross: "Cross: transcript to sound",
  aboutEncoder: "Each moment gathers from all moments; a row of the map is a moment. As the sound plays, "
    + "the spectrogram is clear where the moment that sounds looks.",
  aboutCross: "Each token, while it is written, gathers from the moments of the sound; a row of the map is "
    + "a token. The spectrogram is clear where the chosen token listens.",
  tokensHeard: "Tokens of the transcript", spectrogram: "Spectrogram: time from left to right, high tones "
    + "above",
  scaleOfHead: "0 (empty) to the largest weight of this head (full color)",
  howTo: "A token goes to where it listens most. A click on the spectrogram or the map, and the keys of the "
    + "player, go elsewhere.",
  momentSeen: "{time} s: “{token}” listens most, with {weight}.",
  momentLooks: "{time} s: this moment looks most at {place} s.",
  mapSaid: "Map of {rows} rows and {columns} moments; the largest weight is {peak}.",
  recordedRest: "What is shown was computed before; the sound is played as it was heard.",
});
WORDS.en.reasons.speech = "a model of speech does not compute in this page.";
Object.assign(WORDS.es, {
  title: "La atención en el habla, con sonido",
  lead: "Escucha una grabación y mira dónde escucha un modelo entrenado mientras escribe.",
  choose: "1. Elige una grabación y escúchala", recording: "Grabación", heard: "Oído",
  truth: "Se dijo:", play: "La grabación", look: "2. Dónde escucha",
  encoder: "Codificador: de momento a momento", cross: "Cruzada: de la transcripción al sonido",
  aboutEncoder: "Cada momento reúne información de todos; una fila del mapa es un momento. Mientras suena, "
    + "el espectrograma queda claro donde mira el momento que suena.",
  aboutCross: "Cada símbolo, al escribirse, reúne información de los momentos del sonido; una fila del mapa "
    + "es un símbolo. El espectrograma queda claro donde escucha el símbolo elegido.",
  tokensHeard: "Símbolos de la transcripción", spectrogram: "Espectrograma: el tiempo de izquierda a "
    + "derecha, los tonos agudos arriba",
  scaleOfHead: "de 0 (vacío) al mayor peso de esta cabeza (color pleno)",
  howTo: "Un símbolo lleva a donde más escucha. Un clic en el espectrograma o en el mapa, y las teclas del "
    + "reproductor, llevan a otro momento.",
  momentSeen: "{time} s: «{token}» es quien más escucha, con {weight}.",
  momentLooks: "{time} s: este momento mira sobre todo a {place} s.",
  mapSaid: "Mapa de {rows} filas y {columns} momentos; el mayor peso es {peak}.",
  recordedRest: "Lo que se ve se calculó antes; el sonido se oye como lo oyó el modelo.",
});
WORDS.es.reasons.speech = "un modelo de habla no calcula en esta página.";
