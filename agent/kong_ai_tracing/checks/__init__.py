"""What `kong-ai-tracing check` looks at, one subject a file. `check.py` holds the table of all of them."""
