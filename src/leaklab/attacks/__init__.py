"""Published attacks, and variants that say so, one family a file.

Each is ``attack(model, view, ...) -> Recovered``. A ``View`` is all that an attack learns about the
hospitals. Where it needs what is unknown, it raises ``ValueError`` and says what.
"""
