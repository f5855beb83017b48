"""cases.db, the SQLite file of a project. All SQL of fran is in this package; every value is bound to a parameter."""

from fran.projects.database.rows import CaseRow, PlanRow, SourceRow, Verdict
from fran.projects.database.schema import SCHEMA_VERSION
from fran.projects.database.store import Database, Transaction

__all__ = ["SCHEMA_VERSION", "CaseRow", "Database", "PlanRow", "SourceRow", "Transaction", "Verdict"]
