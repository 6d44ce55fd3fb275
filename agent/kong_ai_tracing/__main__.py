"""`python -m kong_ai_tracing`."""

from kong_ai_tracing.cli import main

if __name__ == "__main__":
    main()
