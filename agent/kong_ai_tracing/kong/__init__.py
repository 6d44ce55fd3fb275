"""What an operator wants logged in, configuration for Kong out: declarative, or calls of its Admin API."""
