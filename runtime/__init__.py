"""Floor 2: one storage node: the daemon, its workers, the wire, the client, the programs."""
