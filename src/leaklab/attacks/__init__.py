"""Published attacks, one family a file: ``attack(model, view, ...) -> Recovered``.

A ``View`` is all that an attack learns about the hospitals. Where it needs what is unknown, it
raises ``ValueError`` and says what.
"""
