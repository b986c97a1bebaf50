"""Python scripts as programs: what a script brings along, and how it is made ready.

    interpreter.py    the Python that is installed: a program like any other, in a package of its own
    project.py        a script or a directory: its files, its name, its manifest
    inline.py         what a lone script says of itself in a comment
    requirements.py   what it needs of others: pure-Python wheels
    asked.py          … of which these are the names, and nothing but names
    pip.py            … which pip chooses and fetches, and nothing more
    wheels.py         … which are unpacked
    build.py          a bundle in which the script is compiled and its imports are done

In the guest: the interpreter's library in /lib/python3.13, packages in /lib/site, and the script's own files in /app.
docs/python.md is the page of its users.
"""
