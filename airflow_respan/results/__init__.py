"""How the files that a batch has left become files that can be trusted: rows, counts, Parquet, manifest.

May import ``hooks``, ``waiting`` and ``api``; only ``operators`` import it.
"""
