"""Floor 3: the object store: Swift filters, HTTP semantics, the development cluster."""
