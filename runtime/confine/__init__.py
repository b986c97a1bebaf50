"""What a node's processes give up before they touch anything of anybody's.

    node ── not confined: it owns the socket and starts the rest
     └─ spawner ── environment, rlimits, namespaces, no_new_privs, capabilities, landlock, undumpable, seccomp
         ├─ worker ── all that its spawner gave up, and: root, identity, descriptors, processes, filters of its own
         └─ compiler ── likewise, with memory, CPU and wall limits

One file a measure, each says what it holds back. `roles.py` has who takes which, in what order; `guard.py` takes them;
`check.py` tries them and says what holds on this machine. A measure that the kernel (or whoever started the node) does
not allow is left out with one warning, or keeps a `strict` node from starting. None of them costs a launch anything but
what the kernel takes to look a system call up in the filter: they are taken before a worker says that it is ready.
"""
