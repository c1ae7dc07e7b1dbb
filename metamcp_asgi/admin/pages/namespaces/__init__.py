"""The pages of namespaces: the list, the form, one namespace with its servers, its tools, and one tool."""
