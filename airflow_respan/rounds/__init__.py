"""The whole job of one task: an input of any size is asked in rounds, until each request has an answer.

A round has one or more batches. May import ``submission``, ``results`` and all below them; ``operators`` import it.
"""
