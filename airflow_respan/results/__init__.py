"""How the output and error file of a batch are downloaded, checked, and written into a folder with a manifest.

May import ``hooks``, ``waiting`` and ``api``; only ``operators`` import it.
"""
