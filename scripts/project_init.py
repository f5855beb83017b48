"""`python project_init.py -t title -i folder [folder …]` is `fran init …`."""

from fran.workflows.init import main

if __name__ == "__main__":
    main()
