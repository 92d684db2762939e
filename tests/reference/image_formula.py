"""A picture that Python and Rust both compute, so that only hashes of results need be stored."""

import hashlib

import numpy as np


def picture(width, height):
    """uint8 [height, width, 3]: a hash of the position, as noisy as can be, so that filters overshoot at both ends."""
    y, x, c = np.meshgrid(
        np.arange(height, dtype=np.uint32), np.arange(width, dtype=np.uint32), np.arange(3, dtype=np.uint32), indexing="ij"
    )
    value = x * np.uint32(0x9E3779B1) + y * np.uint32(0x85EBCA77) + c * np.uint32(0xC2B2AE3D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x2C1B3C6D)
    value ^= value >> np.uint32(13)
    return (value & np.uint32(255)).astype(np.uint8)


def digest(pixels):
    """The SHA-256 of uint8 pixels in C order."""
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).hexdigest()
