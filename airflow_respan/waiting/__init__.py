"""The rules of a wait for a batch, without I/O and without Airflow.

When to check a batch, what the result of a check means, whether the outcome is a success, what is pushed to XCom, and
the event of the trigger. May import ``api``. The poller, the trigger and every task that waits import it.
"""
