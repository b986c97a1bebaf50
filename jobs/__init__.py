"""Floor 3: pipelines over many objects: spec, plan, execution, shuffle.

A job is a pipeline of stages, a stage a set of tasks, a task one run request (or one upload) that can be repeated:

    spec.py      what the user wrote, typed          store.py     the object store, as any client sees it
    plan.py      spec + listing -> Pipeline  (pure)  shuffle.py   splits map output by key, spills, commits whole tasks
    machine.py   events in, instructions out (pure)  tasks.py     what one attempt of a task does
    execute.py   where attempts run (threads here)   engine.py    the loop that ties them together
    report.py    what it came to                     progress.py  what is seen meanwhile
    failure.py   why an attempt failed               clean.py     what killed jobs left behind

Words are those of the house: a *launch* is one run of a program. An *attempt* is one try at a task: one launch at most.
"""
