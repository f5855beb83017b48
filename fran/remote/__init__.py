"""Models on other machines: a login, a download that survives what networks do, and the copies kept here."""
