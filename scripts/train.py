"""`python train.py key=value …` is `fran train key=value …`."""

from fran.workflows.train import main

if __name__ == "__main__":
    main()
