"""``python -m grace.cli``, for where the command is not on the path."""

from grace.cli import app

if __name__ == "__main__":
    app()
