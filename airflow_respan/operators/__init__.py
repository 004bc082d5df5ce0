"""The operators of the Respan provider, and the base class of every task that waits for a batch.

Users import ``airflow_respan.operators.batch``. May import everything but ``sensors``.
"""
