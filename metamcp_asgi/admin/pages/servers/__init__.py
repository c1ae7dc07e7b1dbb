"""The pages of servers: the list, one server with its tools, the form, import and export."""
