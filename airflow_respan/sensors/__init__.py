"""The sensors of the Respan provider."""
