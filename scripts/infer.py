"""`python infer.py key=value …` is `fran infer key=value …`."""

import sys

from fran.workflows.first_word import say_first

if __name__ == "__main__":
    say_first("infer", sys.argv[1:])
    from fran.workflows.infer import main  # takes a second

    main()
