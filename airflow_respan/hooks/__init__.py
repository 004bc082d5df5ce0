"""The hooks of the Respan provider."""
