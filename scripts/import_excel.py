"""`python import_excel.py workbook.xlsx --out my_conf` is `fran import-excel …`."""

from fran.workflows.import_excel import main

if __name__ == "__main__":
    main()
