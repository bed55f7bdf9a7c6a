"""The handbook's tools. They generate the references of docs/, check the links of docs/, and build docs/ as a site.

Nothing here is part of the program or its wheel. `python -m benchmarks.document` writes what these commands print into
the documents. Tests fail if a document differs from what its command prints.
"""
