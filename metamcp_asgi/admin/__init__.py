"""What administers a gateway that serves from a store: the REST management API. Imported only when there is a store."""
