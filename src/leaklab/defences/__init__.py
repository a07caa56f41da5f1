"""What a hospital or a federation can do against the attacks.

A defence changes an update before it leaves the building, and offers ``surrogate``, its effect
inside a simulated gradient, so that every attack can be made to know it. A detector looks at the
model that came, before anything is answered.
"""
