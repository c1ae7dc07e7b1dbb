"""The load scripts behind every figure that the README quotes: ``make bench``, or ``python -m bench``.

Each measurement is a module with a function ``measure`` that returns rows; ``__main__`` prints them as one table with
the budgets of the architecture. Timings are never asserted, contents always: a wrong answer ends the run.
Knows the gateway only from outside, as a process that is started with a configuration file.
"""
