"""The documentation site: pages made of the library, and its pages built in two languages.

python -m docs.site                    both languages, into build/site
python -m docs.site --catalogs         the Spanish catalogs, brought up to date with the pages
"""
