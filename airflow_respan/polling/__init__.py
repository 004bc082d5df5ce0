"""One poller for all deferred waits of a triggerer that use the same connection.

Chooses which request goes out next, within the rate limit. May import ``hooks``, ``waiting`` and ``api``; only
``triggers`` import it.
"""
