"""The hook of the Respan provider: calls the Respan API with the settings of an Airflow connection.

Users import ``airflow_respan.hooks.respan``. May import ``api``. All other packages send their requests by the hook.
"""
