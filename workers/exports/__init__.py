"""A contact's timeline as a file, oldest event first: CSV for spreadsheets, PDF for people."""
