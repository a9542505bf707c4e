"""Scripts of the training lab in node, which prints what a test asks as JSON."""

import json
import shutil
import subprocess

import pytest

from attention_jax.analysis.pages.live import lab

PROGRAM = shutil.which("node")
needs_node = pytest.mark.skipif(PROGRAM is None, reason="node is not installed")

_FRAME = """
(async () => {
  const data = JSON.parse(require("fs").readFileSync(process.argv[2], "utf-8"));
  await Lab.open();
  const plain = async tree => {
    if (Lab.isArray(tree)) return {shape: tree.shape, values: Array.from(await tree.ref.data())};
    const found = {};
    for (const name in tree) found[name] = await plain(tree[name]);
    return found;
  };
  %s
})().then(found => process.stdout.write(JSON.stringify(found)))
  .catch(error => { console.error(error); process.exit(1); });
"""


def run(folder, code, data=None, *, seconds=600):
    """The value that the body of an asynchronous function returns, given `data`.

    Args:
      folder: where the program is written.
      code: the body; `plain(tree)` gives arrays as {shape, values}.
      data: any JSON.
    """
    parts = [file.read_text(encoding="utf-8") for file in (lab.ENGINE, *lab.MODEL)]
    (folder / "program.js").write_text("\n".join([*parts, _FRAME % code]), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data))
    done = subprocess.run(
        [PROGRAM, folder / "program.js", folder / "data.json"],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
