"""How an input becomes a batch, once: the checked input, the identity of the task, and the search for earlier batches.

May import ``hooks``, ``waiting`` and ``api``; only ``operators`` import it.
"""
