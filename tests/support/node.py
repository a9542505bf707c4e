"""Scripts of the live page in node, which prints what a test asks as JSON."""

import json
import shutil
import subprocess

import pytest

from attention_jax.analysis.pages import live
from attention_jax.analysis.pages.live import lab

PROGRAM = shutil.which("node")
needs_node = pytest.mark.skipif(PROGRAM is None, reason="node is not installed")


def run(folder, code, data, *, scripts=live.MODEL, seconds=300):
    """The value that an asynchronous function body returns, given `data`.

    Args:
      folder: where the program is written.
      code: the body; the page's scripts stand before it, and `Engine` has been started.
      data: any JSON.
      scripts: those of the page, after jax-js.
    """
    (folder / "data.json").write_text(json.dumps(data))
    parts = [file.read_text(encoding="utf-8") for file in (lab.ENGINE, *scripts)]
    program = (
        "\n".join(parts)
        + f"""
(async () => {{
  const data = JSON.parse(require("fs").readFileSync({json.dumps(str(folder / "data.json"))}));
  await Engine.start();
  {code}
}})().then(found => process.stdout.write(JSON.stringify(found)))
  .catch(error => {{ console.error(error); process.exit(1); }});
"""
    )
    file = folder / "program.js"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run([PROGRAM, file], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
