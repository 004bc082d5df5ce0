"""One poller for all deferred waits of a triggerer that use the same connection.

It chooses the next request and keeps the rate limit. Read ``schedule.py`` first: it chooses each request, and the other
modules hold the state that this choice needs. ``poller.py`` sends the requests. May import ``hooks``, ``waiting``
and ``api``; only ``triggers`` import it.
"""
