"use strict";
// Starts the page of a model of speech, which plays what was computed before.
Recordings.start();
Alignment.start();
Page.start({recorded: () => Recordings.choose(0)});
