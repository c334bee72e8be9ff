"""A guest of 512 bytes that proves a virtual CPU works: it boots from a floppy and leaves a number behind.

Real mode proves too little: there are hosts on which it runs and any 64-bit code spins for ever, so that a
kernel hangs without printing a byte. This guest therefore switches on paging and long mode, as a kernel does
first of all, runs code it has just copied, touches 32 MiB of memory and leaves the guest 2000 times (CPUID).
"""

EXIT_PORT = 0xF4
PROOF = 0x2A

EXIT_STATUS = PROOF << 1 | 1
"""QEMU's exit status when the guest writes PROOF to its isa-debug-exit device."""

# Assembled for address 0x7c00, where a BIOS loads a boot sector.
_CODE = (
    # 16-bit: flat segments, a stack, and address line 20
    ("fa", "cli"),
    ("31c0 8ed8 8ec0 8ed0", "xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax"),
    ("bc007c", "mov sp,0x7c00"),
    ("e492 0c02 e692", "in al,0x92; or al,2; out 0x92,al"),
    # page tables at 0x1000, 0x2000 and 0x3000: 32 pages of 2 MiB, each mapped to itself
    ("bf0010 b90018 31c0 fc f3ab", "mov di,0x1000; mov cx,0x1800; xor ax,ax; cld; rep stosw"),
    ("c70600100320", "mov word [0x1000],0x2003"),
    ("c70600200330", "mov word [0x2000],0x3003"),
    ("bf0030 66b883000000 b92000", "mov di,0x3000; mov eax,0x83; mov cx,32"),
    ("668905 83c708 660500002000 e2f2", "1: mov [di],eax; add di,8; add eax,0x200000; loop 1b"),
    # long mode: descriptor table, physical address extension, page tables, EFER.LME, paging
    ("0f0116d87c", "lgdt [0x7cd8]"),
    ("0f20e0 6683c820 0f22e0", "mov eax,cr4; or eax,0x20; mov cr4,eax"),
    ("66b800100000 0f22d8", "mov eax,0x1000; mov cr3,eax"),
    ("66b9800000c0 0f32 660d00010000 0f30", "mov ecx,0xc0000080; rdmsr; or eax,0x100; wrmsr"),
    ("0f20c0 660d01000080 0f22c0", "mov eax,cr0; or eax,0x80000001; mov cr0,eax"),
    ("ea7c7c0800", "jmp 8:0x7c7c"),
    # 64-bit, at 0x7c7c: copy the work to 2 MiB and call it there
    ("bf00002000 be9e7c0000 b929000000 f3a4", "mov edi,0x200000; mov esi,0x7c9e; mov ecx,41; rep movsb"),
    ("b800002000 ffd0", "mov eax,0x200000; call rax"),
    ("66baf400 b02a ee", "mov dx,EXIT_PORT; mov al,PROOF; out dx,al"),
    ("f4 ebfd", "2: hlt; jmp 2b"),
    # the work, at 0x7c9e: a word in each of 8192 pages from 3 MiB on; a wrong one spins
    ("bf00003000 b900200000", "mov edi,0x300000; mov ecx,8192"),
    ("48893f 48393f 75fe", "3: mov [rdi],rdi; cmp [rdi],rdi; jne $"),
    ("4881c700100000 e2ef", "add rdi,4096; loop 3b"),
    ("bdd0070000 31c0 0fa2 ffcd 75f8", "mov ebp,2000; 4: xor eax,eax; cpuid; dec ebp; jnz 4b"),
    ("c3 90", "ret; nop"),
    # descriptor table at 0x7cc8: none, and 64-bit code; its size and place at 0x7cd8
    ("0000000000000000 00000000009a2000", "dq 0, 0x00209a0000000000"),
    ("0f00 c87c0000", "dw 15; dd 0x7cc8"),
)


def boot_sector() -> bytes:
    """The probe guest: one sector, BIOS signature at its end."""
    code = b"".join(bytes.fromhex(machine_code) for machine_code, _ in _CODE)
    return code.ljust(510, b"\0") + b"\x55\xaa"
