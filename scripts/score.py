"""`python score.py key=value …` is `fran score key=value …`."""

from fran.workflows.score import main

if __name__ == "__main__":
    main()
