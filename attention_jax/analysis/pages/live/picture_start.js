"use strict";
// Starts the page of a model of pictures.
(() => {
  const {own} = App;

  /** A page of a model that it cannot compute: the recorded maps of some pictures. */
  function recorded() {
    $("clicks").hidden = true;
    Pictures.choose(0);
  }

  function live() {
    own.model = new Vision(own.data.model);
    Steps.start();
    Edit.start();
    App.compute();
    // The first reading compiles; the second says how long one takes.
    App.compute();
  }

  Pictures.start();
  PatchPanel.start();
  Page.start({live, recorded});
})();
