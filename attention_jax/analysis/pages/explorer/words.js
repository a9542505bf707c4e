// ---- What the page calls things, by what it shows: data.of --------------------------------------
// part: what one points at; distance: what d says of a head, if positions have a distance; about and
// says: of each kind of attention, what it is, and its two axes.
const WORDS = {
  sentence: {
    item: "Sentence", part: "token", parts: "tokens", place: "token", answer: "translation", score: "score",
    point: "Point at a token or a cell.",
    distance: "; d: distance between the positions, in tokens",
    titles: {encoder: "Encoder", decoder: "Decoder", cross: "Cross"},
    says: {
      encoder: ["reads", "looked at"], decoder: ["writes", "has written"],
      cross: ["writes", "source"],
    },
    about: {
      encoder: "How much each source token draws from each source token.",
      decoder: "How much each token, while it is written, draws from those before it.",
      cross: "How much each token, while it is written, draws from each source token.",
    },
  },
  text: {
    item: "Text", part: "token", parts: "tokens", place: "token", answer: "next token",
    score: "log-probability", point: "Point at a token or a cell.",
    distance: "; d: distance between the positions, in tokens",
    titles: {encoder: "Encoder", decoder: "Self", cross: "Cross"},
    says: {
      encoder: ["reads", "looked at"], decoder: ["reads", "looked at"], cross: ["reads", "source"],
    },
    about: {
      encoder: "", cross: "",
      decoder: "How much each token, while the next one is guessed, draws from itself and those "
        + "before it.",
    },
  },
  recording: {
    item: "Recording", part: "token or a moment", parts: "positions", place: "position", answer: "transcript",
    score: "score", point: "Point at a token, a moment or a cell.",
    distance: "; d: distance between the two, in positions",
    titles: {encoder: "Encoder", decoder: "Decoder", cross: "Cross"},
    says: {
      encoder: ["hears", "looked at"], decoder: ["writes", "has written"],
      cross: ["writes", "hears"],
    },
    about: {
      encoder: "How much each moment of the sound draws from each moment.",
      decoder: "How much each token, while it is written, draws from those before it.",
      cross: "How much each token, while it is written, draws from each moment of the sound.",
    },
  },
  picture: {
    item: "Picture", part: "patch", parts: "positions", place: "position", answer: "class",
    score: "log-probability", point: "Point at a patch or a cell.", distance: "",
    titles: {encoder: "Encoder", decoder: "Decoder", cross: "Pooling"},
    says: {
      encoder: ["sees", "looked at"], decoder: ["writes", "has written"],
      cross: ["answers", "looks at"],
    },
    about: {
      encoder: "How much each patch draws from each patch; the answer is read at [class], if there "
        + "is one.",
      decoder: "",
      cross: "How much the answer draws from each patch.",
    },
  },
};
const words = WORDS[data.of];
