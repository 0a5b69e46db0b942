"""Guests of a few instructions for CPUs that the compiler of guests/ does not know, assembled by hand.

They say `now`, and then for each byte from the console one line, in the words of the guest protocol.
"""

from __future__ import annotations

import struct

DACR = 0x55555555
"""What the guest of `secure32` sets the Secure DACR to; it answers with what it reads there."""

_AT = 0x40008000
_UART = 0xE3A01409  # mov r1, #0x09000000: the PL011 of the virt machine
_SECURE32_HELLO = b"@1 hello guest=dacr\n@1 now\n\0"
_SECURE32_ANSWER = b"@1 reg cpu=0 name=dacr value=0x\0"

# Of the A32 instruction set (Arm ARM for Armv7-A, A8.8). `say` writes the text at r4 up to its 0.
_SECURE32 = (
    _UART,
    0xE3003301,  # movw r3, #0x301: UARTEN, TXE, RXE
    0xE5813030,  # str r3, [r1, #0x30]: UARTCR
    0xE3A00055,  # mov r0, #0x55
    0xE1800400,  # orr r0, r0, r0, lsl #8
    0xE1800800,  # orr r0, r0, r0, lsl #16
    0xEE030F10,  # mcr p15, 0, r0, c3, c0, 0: DACR
    0xE28F4068,  # add r4, pc, #hello
    0xEB000013,  # bl say
    # wait:
    0xE5913018,  # ldr r3, [r1, #0x18]: UARTFR
    0xE3130010,  # tst r3, #0x10: RXFE
    0x1AFFFFFC,  # bne wait
    0xE5913000,  # ldr r3, [r1]: UARTDR
    0xE28F4070,  # add r4, pc, #answer
    0xEB00000D,  # bl say
    0xEE132F10,  # mrc p15, 0, r2, c3, c0, 0: DACR
    0xE3A05008,  # mov r5, #8
    # digit:
    0xE1A02E62,  # ror r2, r2, #28
    0xE202300F,  # and r3, r2, #15
    0xE353000A,  # cmp r3, #10
    0xB2833030,  # addlt r3, r3, #'0'
    0xA2833057,  # addge r3, r3, #'a' - 10
    0xE5C13000,  # strb r3, [r1]: UARTDR
    0xE2555001,  # subs r5, r5, #1
    0x1AFFFFF7,  # bne digit
    0xE3A0300A,  # mov r3, #'\n'
    0xE5C13000,  # strb r3, [r1]
    0xEAFFFFEC,  # b wait
    0xE1A00000,  # nop
    # say:
    0xE4D43001,  # ldrb r3, [r4], #1
    0xE3530000,  # cmp r3, #0
    0x012FFF1E,  # bxeq lr
    0xE5C13000,  # strb r3, [r1]
    0xEAFFFFFA,  # b say
)


def secure32() -> bytes:
    """Return an ELF file for the virt machine with `secure=on` and a 32-bit CPU: one segment, entered at its first byte.

    QEMU enters an ELF file that is no Linux kernel in the highest state, which is Secure SVC mode then (hw/arm/boot.c).
    """
    hello = 4 * len(_SECURE32)
    answer = hello + len(_SECURE32_HELLO)
    program = list(_SECURE32)
    for at, text in ((7, hello), (13, answer)):
        program[at] = 0xE28F4000 | text - (4 * at + 8)  # add r4, pc, #…: pc reads two instructions ahead
    body = struct.pack(f"<{len(program)}I", *program) + _SECURE32_HELLO + _SECURE32_ANSWER
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, _AT, 52, 0, 0x05000000, 52, 32, 1, 40, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 84, _AT, _AT, len(body), len(body), 7, 4) + body


_M_HELLO = b"@1 hello guest=m\n@1 now\n\0\0\0\0"  # of a multiple of 4 bytes
_M_ANSWER = b"@1 beat cpu=0 n=1\n\0"
# Of the T32 instruction set. `say` writes the text at r4 up to its 0 and goes on at `wait`.
_M_PROFILE = (
    0xF244, 0x0100,  # movw r1, #0x4000
    0xF2C4, 0x0100,  # movt r1, #0x4000: UART0 of the mps2 boards (hw/arm/mps2.c), a CMSDK APB UART
    0x2010,  # movs r0, #16
    0x6108,  # str r0, [r1, #0x10]: BAUDDIV
    0x2003,  # movs r0, #3: TX and RX enable
    0x6088,  # str r0, [r1, #8]: CTRL
    0xA406,  # adr r4, hello
    # say:
    0x7823,  # ldrb r3, [r4]
    0x3401,  # adds r4, #1
    0x2B00,  # cmp r3, #0
    0xD001,  # beq wait
    0x600B,  # str r3, [r1]: DATA
    0xE7F9,  # b say
    # wait:
    0x684B,  # ldr r3, [r1, #4]: STATE
    0x079B,  # lsls r3, r3, #30: RX buffer full
    0xD5FC,  # bpl wait
    0x680B,  # ldr r3, [r1]
    0xA401 + len(_M_HELLO) // 4,  # adr r4, answer
    0xE7F3,  # b say
    0xBF00,  # nop
)  # fmt: skip


def m_profile() -> bytes:
    """Return what an M-profile board has at address 0: the vectors of stack and reset, and a program that answers `beat`."""
    vectors = struct.pack("<II", 0x20001000, 8 | 1)
    return vectors + struct.pack(f"<{len(_M_PROFILE)}H", *_M_PROFILE) + _M_HELLO + _M_ANSWER
