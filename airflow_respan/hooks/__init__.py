"""The hook of the Respan provider: an Airflow connection becomes a client.

Users import ``airflow_respan.hooks.respan``. May import ``api``; everything that talks to Respan goes through it.
"""
