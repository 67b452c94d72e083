"""What messages do to contacts: a batch is loaded, folded message by message, and written. Begin with apply.py.

Everything here but apply.py is pure.
"""
