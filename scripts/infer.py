"""`python infer.py key=value …` is `fran infer key=value …`."""

from fran.workflows.infer import main

if __name__ == "__main__":
    main()
