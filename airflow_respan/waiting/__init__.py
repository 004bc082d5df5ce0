"""The rules of a wait for a batch, without I/O and without Airflow.

When to check a batch, what a check means, how a batch that has ended counts, what is pushed to XCom, and the event of
the trigger. May import ``api``. The poller, the trigger and every task that waits import it.
"""
