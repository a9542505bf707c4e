"use strict";
// What the page of a model of pictures says otherwise, or beside, in each language.
Object.assign(WORDS.en, {
  title: "Attention on pictures, live",
  lead: "A trained model of pictures computes in this page. Look where it looks, hide a part, break "
    + "something.",
  choose: "1. Choose a picture", pictures: "Pictures",
  testPicture: "Picture {number} of the test, of class {label}",
  look: "2. Where it looks, and what it says",
  encoder: "Layers: patch to patch", cross: "Pooling: answer to patches",
  aboutEncoder: "Each patch gathers from all patches. They are named by row and column: (2, 3) is the "
    + "third of the second row.",
  aboutCross: "The answer gathers from all patches, by one learned query. They are named by row and "
    + "column.",
  noAttention: "This model has no attention.",
  classToken: "[class]", register: "[register {number}]", rowPatch: "row {row}", answer: "answer",
  onClick: "A click", clickLook: "looks from a patch", clickHide: "hides a patch, or shows it again",
  clickAbout: "Shift with a click, and the key H on a patch, always hide. Arrow keys move among patches. "
    + "A hidden patch shows the mean color of the picture, as in an occlusion map.",
  shownAgain: "Show all patches", patches: "Patches of the picture", positions: "Beside the patches",
  clear: "Clear: looked at most; veiled: not looked at.",
  most: "{token} looks most at {key}: {weight}.",
  patchSaid: "{name}, looked at with {weight}", patchHidden: "{name}, hidden, looked at with {weight}",
  classes: "Probability of each class", classHead: "class", now: "now", share: "probability",
  said: "It says: {name}, with {share}.",
  timing: "Computed in this page in {ms} ms.", matrixDetails: "As a matrix",
  row: "Patch {number}: {token}", chosen: "Patch that looks", step: "3. Step through one patch",
  token: "patch", allOn: "All patches are shown.",
  editLead: "Every change is computed at once: the probabilities above follow, and classes that moved by "
    + "1 % or more are marked.",
  recordedRest: "What is shown was computed before; nothing can be hidden or changed.",
});
Object.assign(WORDS.en.aboutSteps, {
  keys: "The keys k: what each patch offers to be found by. Each has {width} numbers too.",
  mask: "Keys that may not be seen are hidden: a window has such, and a pooling leaves out what stands "
    + "before the patches.",
});
Object.assign(WORDS.es, {
  title: "La atención en imágenes, en vivo",
  lead: "Un modelo de imágenes entrenado calcula en esta página. Mira dónde mira, oculta una parte, rompe "
    + "algo.",
  choose: "1. Elige una imagen", pictures: "Imágenes",
  testPicture: "Imagen {number} de la prueba, de la clase {label}",
  look: "2. Dónde mira y qué dice",
  encoder: "Capas: de trozo a trozo", cross: "Agrupación: de la respuesta a los trozos",
  aboutEncoder: "Cada trozo reúne información de todos. Se nombran por fila y columna: (2, 3) es el "
    + "tercero de la segunda fila.",
  aboutCross: "La respuesta reúne información de todos los trozos con una consulta aprendida. Se nombran "
    + "por fila y columna.",
  noAttention: "Este modelo no tiene atención.",
  classToken: "[clase]", register: "[registro {number}]", rowPatch: "fila {row}", answer: "respuesta",
  onClick: "Un clic", clickLook: "mira desde un trozo", clickHide: "oculta un trozo o lo vuelve a mostrar",
  clickAbout: "Mayús con un clic y la tecla H en un trozo siempre ocultan. Las flechas pasan de un trozo a "
    + "otro. Un trozo oculto muestra el color medio de la imagen, como en un mapa de oclusión.",
  shownAgain: "Mostrar todos los trozos", patches: "Trozos de la imagen", positions: "Junto a los trozos",
  clear: "Claro: lo más mirado; velado: no mirado.",
  most: "{token} mira sobre todo a {key}: {weight}.",
  patchSaid: "{name}, mirado con {weight}", patchHidden: "{name}, oculto, mirado con {weight}",
  classes: "Probabilidad de cada clase", classHead: "clase", now: "ahora", share: "probabilidad",
  said: "Dice: {name}, con {share}.",
  timing: "Calculado en esta página en {ms} ms.", matrixDetails: "Como matriz",
  row: "Trozo {number}: {token}", chosen: "Trozo que mira", step: "3. Un trozo, paso a paso",
  token: "trozo", allOn: "Se muestran todos los trozos.",
  editLead: "Cada cambio se calcula al momento: arriba cambian las probabilidades, y quedan marcadas las "
    + "clases que cambiaron en 1 % o más.",
  recordedRest: "Lo que se ve se calculó antes; no se puede ocultar ni cambiar nada.",
});
Object.assign(WORDS.es.aboutSteps, {
  keys: "Las claves k: por lo que cada trozo se deja encontrar. También tienen {width} números.",
  mask: "Se ocultan las claves que no se pueden ver: las de fuera de una ventana y, en la agrupación, lo "
    + "que está antes de los trozos.",
});
