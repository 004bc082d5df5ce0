"""The operators of the Respan provider, and what every task that waits for a batch does.

Users import ``airflow_respan.operators.batch``. May import everything but ``sensors``.
"""
