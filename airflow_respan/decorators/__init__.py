"""The TaskFlow decorator ``@task.respan_batch``, which Airflow finds by the provider info.

May import ``operators`` and all below it; nothing imports it.
"""
