"""Scripts of the training lab in node, which prints what a test asks as JSON."""

from attention_jax.analysis.pages.live import lab
from tests.support import node
from tests.support.node import needs_node

__all__ = ["needs_node", "run"]

_PLAIN = """
  const plain = async tree => {
    if (Lab.isArray(tree)) return {shape: tree.shape, values: Array.from(await tree.ref.data())};
    const found = {};
    for (const name in tree) found[name] = await plain(tree[name]);
    return found;
  };
"""


def run(folder, code, data=None, *, seconds=600):
    """The value that the body of an asynchronous function returns, given `data`.

    Args:
      folder: where the program is written.
      code: the body; `plain(tree)` gives arrays as {shape, values}.
      data: any JSON.
    """
    return node.run(folder, _PLAIN + code, data, scripts=lab.MODEL, seconds=seconds)
