"""Builds the documentation site in English and Spanish, or brings the Spanish catalogs up to date.

python -m docs.site                    into build/site; open build/site/en/index.html
python -m docs.site --execute          runs the lessons as well, those that changed
python -m docs.site --catalogs         adds new messages of the pages to docs/locales
"""

import argparse
import os
import subprocess
import sys
import time

from docs.site import catalogs, languages, source
from docs.site.names import ROOT

SITE = ROOT / "build" / "site"
SOURCE, KEPT = SITE / "source", SITE / "pictures"


def main() -> None:
    """Runs the command; a warning of Sphinx or a page that is not translated ends it with 1."""
    parser = argparse.ArgumentParser(prog="scripts/docs", description=__doc__.splitlines()[0])
    parser.add_argument("--execute", action="store_true", help="run the lessons that changed")
    parser.add_argument("--catalogs", action="store_true", help="update the Spanish catalogs")
    flags = parser.parse_args()
    start = time.monotonic()
    source.make(SOURCE, KEPT)
    print(f"Sources: {time.monotonic() - start:.0f} s", flush=True)
    if flags.catalogs:
        update_catalogs()
        return
    status = build("cache" if flags.execute else "off")
    status |= report()
    (SITE / "index.html").write_text(_FRONT, encoding="utf-8")
    print(f"{SITE / 'index.html'}: {time.monotonic() - start:.0f} s")
    sys.exit(status)


def build(execution: str) -> int:
    """Builds both languages at once, and the templates of messages; 1 where one of them fails."""
    environment = {**os.environ, "DOCS_EXECUTION": execution}
    running = [_sphinx(name, environment) for name in languages.LANGUAGES]
    return int(any([each.wait() for each in [*running, _messages()]]))


def report() -> int:
    """Prints how much is translated; 1 where a page that must be is not, in whole."""
    counts = languages.counts(SITE / "messages")
    print(f"Spanish: {', '.join(map(str, counts))}")
    left = [x.page for x in counts if x.is_demanded and x.done < x.all]
    if left:
        print(f"not translated in whole: {', '.join(left)}. `scripts/docs --catalogs` lists what.")
    return int(bool(left))


def update_catalogs() -> None:
    """Adds the pages' messages to the Spanish catalogs, and compiles the command line's."""
    catalogs.compile_command_line()
    _messages().wait()
    languages.update(SITE / "messages")


def _sphinx(language: str, environment: dict[str, str]) -> subprocess.Popen:
    options = ["-b", "html", "-D", f"language={language}", "-W", "--keep-going", "-q"]
    return _run(language, options, environment)


def _messages() -> subprocess.Popen:
    left_out = "exclude_patterns=api,variants,guides,results,files,c*,l[ai]*"
    return _run("messages", ["-b", "gettext", "-Q", "-D", left_out, "-D", "site_is_whole=0"], None)


def _run(name: str, options: list[str], environment: dict[str, str] | None) -> subprocess.Popen:
    places = ["-c", str(ROOT / "docs"), "-d", str(SITE / "doctrees" / name)]
    sphinx = [sys.executable, "-P", "-m", "sphinx", *options, *places]
    return subprocess.Popen([*sphinx, str(SOURCE), str(SITE / name)], env=environment)


# Opens the language that the browser asks for.
_FRONT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>attention_jax</title>
<meta http-equiv="refresh" content="1; url=en/index.html">
<script>
  const here = navigator.language.startsWith("es") ? "es" : "en";
  location.replace(here + "/index.html");
</script>
<p><a href="en/index.html">English</a> · <a href="es/index.html" lang="es">Español</a></p></html>
"""

if __name__ == "__main__":
    main()
