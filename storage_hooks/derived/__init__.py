"""Derived objects: results that are kept, and served as plain objects to whoever asks for the same again.

    serving.py  a read: where would its result be, is it there, does somebody make it already?
    making.py   a run whose result is kept
    key.py      what a result is addressed by: everything that went in
    names.py    where it lies: one container per account, in the namespace that Swift reserves for middleware
    about.py    what is stored beside its bytes, as headers, and as a line of the container's listing
    store.py    reading, writing and removing it, by requests of the proxy's own
    keeping.py  storing a result while it streams to the client
    whole.py    a result laid aside until it is whole, for those who cannot be given it piece by piece
    flight.py   one launch for all who ask for the same at the same time
    hit.py      the stored object as an answer to the client
    memory.py   small ones, remembered in the proxy
    programs.py which digest does a program's name mean now, and are its launches frozen?
    bounds.py   bytes per account: the oldest go
    manage.py   what its owner sees of it, and can drop
    settings.py the operator's; asked.py: one read, handed on from step to step

Swift commits an object whole or not at all, and serves it with ETag, length, ranges and conditions; nothing of that is
made anew here. A changed source or program is another key, so nothing has to be invalidated.
"""
