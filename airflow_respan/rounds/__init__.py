"""The whole job of one task: an input of any size is asked in rounds.

To ask a request means to send it to the model in a batch. A round is all batches that are created at the same time; the
requests of one batch are a part of the round. A request is unsettled if it has no answer, but may get one in another
round.

May import ``submission``, ``results`` and all below them; ``operators`` import it.
"""
