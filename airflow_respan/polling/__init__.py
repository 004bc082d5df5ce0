"""One poller for all deferred waits of a triggerer that use the same connection.

It chooses the next request and keeps the rate limit. To find the way, read ``schedule.py`` first: it decides, and the
other modules hold the state that it decides on. ``poller.py`` sends the requests. May import ``hooks``, ``waiting``
and ``api``; only ``triggers`` import it.
"""
