"""The operators of the Respan provider."""
