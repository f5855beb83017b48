"""`python export_excel.py my_conf --out book.xlsx` is `fran export-excel …`."""

from fran.workflows.export_excel import main

if __name__ == "__main__":
    main()
