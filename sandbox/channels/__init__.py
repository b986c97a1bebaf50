"""Channels: how bytes get into a guest and out of it.

    base      what a source and a sink are, and the launch's one place to wait
    sources   where bytes come from         sinks   where they go
    checked   an input held against its MD5
    meter     quotas, digests, and the reads and writes of frozen launches, around any of those
    named     /dev/in/NAME and /dev/out/NAME as files of the guest's tree
    wiring    from what a launch asks for to what its guest gets

A source or sink moves bytes straight between a host descriptor and the guest's memory (the views it is given), keeps
its figures, and never blocks past the deadline: regular files are read with pread at an offset of our own (a passed
descriptor shares its offset with whoever passed it), anything else is non-blocking and waited for with poll.
"""

from insitu.sandbox.channels.base import Deadline, Sink, Source, Views, Wait
from insitu.sandbox.channels.checked import CheckedSource, checked
from insitu.sandbox.channels.sinks import Budget, FdSink, StderrSink, make_pollable
from insitu.sandbox.channels.sources import (
    EmptySource,
    FileInput,
    FileSource,
    Input,
    StreamSource,
    input_from_fd,
    source_from_fd,
)
from insitu.sandbox.outcome import ChannelStatistics

__all__ = [
    "Budget",
    "ChannelStatistics",
    "CheckedSource",
    "Deadline",
    "EmptySource",
    "FdSink",
    "FileInput",
    "FileSource",
    "Input",
    "Sink",
    "Source",
    "StderrSink",
    "StreamSource",
    "Views",
    "Wait",
    "checked",
    "input_from_fd",
    "make_pollable",
    "source_from_fd",
]
