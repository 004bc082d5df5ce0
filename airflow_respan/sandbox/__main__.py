"""The program ``python -m airflow_respan.sandbox``: a local Respan until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys

from airflow_respan.sandbox.server import DEFAULT_KEY, RespanSandbox


def main() -> int:
    """Serve, and print the Airflow connection.

    :return: the exit status: 1 if the sandbox cannot listen
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_respan.sandbox",
        description="A local Respan: the batch API on real sockets, with no key, no cost and no network.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--pace", type=float, default=5.0, help="seconds in each status (default: %(default)s)")
    parser.add_argument(
        "--max-active-batches", type=int, metavar="N", help="refuse a batch while so many have not ended: a full queue"
    )
    parser.add_argument("--one-model-per-batch", action="store_true", help="refuse a batch of several models")
    parser.add_argument(
        "--unfinished-rows",
        action="store_true",
        help="write rows for requests that a batch has not run, as OpenAI does",
    )
    parser.add_argument(
        "--outcomes", default="ok", help="how single requests end, such as '20%% 429, ok' (default: %(default)s)"
    )
    parser.add_argument("--api-key", default=DEFAULT_KEY, help="key to accept (default: %(default)s)")
    options = parser.parse_args()
    try:
        sandbox = RespanSandbox(
            pace=options.pace,
            max_active_batches=options.max_active_batches,
            one_model_per_batch=options.one_model_per_batch,
            unfinished_rows=options.unfinished_rows,
            outcomes=options.outcomes,
            api_key=options.api_key,
            host=options.host,
            port=options.port,
        )
    except ValueError as error:
        parser.error(f"argument --outcomes: {error}")
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        # SIGTERM, which supervisors send, has to delete the files too. In the background of a shell SIGINT is ignored.
        signal.signal(signal_number, signal.default_int_handler)
    try:
        with sandbox:
            connection = {
                "conn_type": "respan",
                "host": f"http://{sandbox.host}",
                "port": sandbox.port,  # not in the host, because some Airflows test no connection without this field
                "password": options.api_key,
            }
            print(f"Respan sandbox on {sandbox.url}; stop it with Ctrl-C. For Airflow:", flush=True)
            print(f"export AIRFLOW_CONN_RESPAN_DEFAULT='{json.dumps(connection)}'", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (OSError, OverflowError) as error:
        print(f"The sandbox cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
