"""What a hospital may do to its update before it leaves the building.

A defence changes an update, and offers ``surrogate``, its effect inside a simulated gradient, so
that every attack can be made to know it.
"""
