"""Searching contacts: one meaning (text.py, criteria.py), two engines (elastic/, postgres.py)."""
