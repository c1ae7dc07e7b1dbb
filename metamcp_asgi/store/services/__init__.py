"""What is done with the objects of the store: one file for each kind, one function for each action.

Each function works in a transaction that its caller opens, so that several of them are done together or not at all, and
checks first, so that one that raises has changed nothing. Who may do what is asked of ``policy``; what a name, a server
or an endpoint may be, of the rooms of ``config``, so that the store and a file accept the same. What somebody may not
see does not exist for them (``NotFound``).
"""
