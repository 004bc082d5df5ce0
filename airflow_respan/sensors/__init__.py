"""The sensor of the Respan provider.

Users import ``airflow_respan.sensors.batch``. May import everything; nothing imports it.
"""
