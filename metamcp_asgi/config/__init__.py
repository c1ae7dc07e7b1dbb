"""From a configuration document to an immutable ``Snapshot``."""
