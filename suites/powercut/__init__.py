"""Power cuts while the appliance configures itself, and what the next boot makes of them.

An instant is taken by freezing the guest (SIGSTOP to every thread), copying its disk and letting it run
on. The copy is what a kill at that instant would leave. What the guest wrote had been handed to the
host's page cache, which outlives a killed process and is what the copy reads; and what only the guest
knew (its own page cache, files not synced, the journal not committed, QEMU's tables in memory) is in
neither. A stopped thread has ended the write it was in, as the kernel lets a killed one do. So one boot
gives many cuts, and because a disk that is the same as at the last look would be the same cut again,
every instant that is kept is another disk.

Two cuts are real all the same: the running guest is killed in the middle of its first configuration and
in that of a changed context. After the first the same machine is switched on again; the disk that the
second left is booted like the copies.

What this can't show is the loss of the host's own page cache: a host without power may forget or tear
writes that were never flushed. And in a container nothing is lost that was written, synced or not,
because its page cache is the host's; there only the processes are gone, and what they had not written
yet.
"""
