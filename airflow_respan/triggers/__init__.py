"""The triggers of the Respan provider."""
