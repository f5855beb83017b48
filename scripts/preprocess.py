"""`python preprocess.py key=value …` is `fran preprocess key=value …`."""

from fran.workflows.preprocess import main

if __name__ == "__main__":
    main()
