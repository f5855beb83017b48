"""`python train.py key=value …` is `fran train key=value …`."""

import sys

from fran.workflows.first_word import say_first

if __name__ == "__main__":
    say_first("train", sys.argv[1:])
    from fran.workflows.train import main  # takes a second

    main()
