"""How an input becomes a batch, once: check, identity, note, search for earlier batches, upload and create.

May import ``hooks``, ``waiting`` and ``api``; only ``operators`` import it.
"""
