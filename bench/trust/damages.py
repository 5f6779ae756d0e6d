"""What a disk, a transfer or a full partition does to a file; every one is decided by its seed."""

import random

BLOCK = 4096


def flip(content, chance):
    """1 to 8 bytes changed."""
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] ^= chance.randint(1, 255)
    return content


def head(content, chance):
    """A byte of the first 256 changed."""
    content[chance.randrange(min(256, len(content)))] ^= chance.randint(1, 255)
    return content


def block(content, chance):
    """4 KiB replaced by zeros or noise."""
    at = chance.randrange(len(content)) // BLOCK * BLOCK
    size = min(BLOCK, len(content) - at)
    content[at : at + size] = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)
    return content


def cut(content, chance):
    """Cut off anywhere."""
    return content[: chance.randrange(len(content))]


def longer(content, chance):
    """Some bytes appended."""
    return content + chance.randbytes(chance.randint(1, 300))


KINDS = (flip, head, block, cut, longer)


def damaged(content, seed):
    """A damaged copy that differs from the content."""
    chance = random.Random(seed)
    made = content
    while made == content:
        made = bytes(KINDS[seed % len(KINDS)](bytearray(content), chance))
    return made
