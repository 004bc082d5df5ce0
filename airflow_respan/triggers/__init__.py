"""The trigger of the Respan provider: a deferred wait inside the triggerer.

Users import ``airflow_respan.triggers.batch``. May import ``polling`` and all below it; ``operators`` import it.
"""
