"""What a hospital or a federation can do against the attacks.

A defence changes an update before it leaves the building, and offers ``surrogate``, its effect
inside a simulated gradient, so that every attack can be made to know it. A detector looks at the
model that came, before anything is answered.

    clip_and_noise, record_level,         noise that bounds what can be learnt, and the budget
    differential_privacy, accounting      that it spends
    secure_aggregation, homomorphic       only the sum is opened
    compression, heuristics               no guarantee, for students to break
    detectors                             what a hospital can check
    compose, vectors                      several in a row; an update as one vector
    faults                                mistakes in DP-SGD for auditors to find
"""
