"""``python -m grace.cli``, if the command ``grace`` is not on the path."""

from grace.cli import app

if __name__ == "__main__":
    app()
