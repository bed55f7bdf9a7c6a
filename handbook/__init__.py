"""The handbook's tools: what generates the references of docs/, checks its links, and builds it as a site.

Nothing here is part of the program, nor of its wheel. `python -m benchmarks.document` writes what these commands print
into the documents; tests fail while a document is not current.
"""
