"""The Respan API without Airflow: data, requests, responses, and two clients (requests and aiohttp).

Imports nothing else of this package; every other package may import it.
"""
