"""Quantised weights multiplied out, in float32: integers and short floats times the scales of their blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""What the 16 codes of a 4-bit float mean (OCP Microscaling Formats 1.0)."""
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where each of eight neighbours stands in the word that AWQ packs them into [from code: AutoAWQ's gemm]."""


def scaled(values: Tensor, scale: Tensor, zero: Tensor | None = None, blocks: Sequence[Sequence[int]] = ()) -> Tensor:
    """``W[.., i, j] = (q[.., i, j] - z[.., i // b0, j // b1]) * s[.., i // b0, j // b1]``.

    Args:
        values: [.., R, C], of any dtype.
        scale: a single one, [.., R] with one a row, or [.., r, c] with one a block; whole numbers are exponents of two
            with a bias of 127 (E8M0).
        zero: of the same shape.
        blocks: heights and widths that are tried; the last block of a row or column may be cut. Where none fits, all
            blocks are alike.

    Raises:
        ValueError: the scales fit no such blocks.

    Example:
        >>> scaled(torch.ones(3, 2), torch.tensor([[2.0], [5.0]]), blocks=[(2, 2)])
        tensor([[2., 2.],
                [2., 2.],
                [5., 5.]])
    """
    spread = _spread(_float(scale), values.shape, blocks)
    found = values.float()
    return (found if zero is None else found - _spread(zero.float(), values.shape, blocks)) * spread


def fp4(packed: Tensor) -> Tensor:
    """[.., C] bytes to [.., 2C] values of 4 bits, the low half of a byte first.

    >>> fp4(torch.tensor([0x21, 0xF7], dtype=torch.uint8))
    tensor([ 0.5000,  1.0000,  6.0000, -6.0000])
    """
    codes = torch.stack([packed.view(torch.uint8) & 15, packed.view(torch.uint8) >> 4], dim=-1)
    values: Tensor = torch.tensor(E2M1, device=packed.device)[codes.long()]
    return values.flatten(-2)


def mxfp4(blocks: Tensor, scales: Tensor) -> Tensor:
    """Experts of gpt-oss: [E, R, G, 16] bytes and [E, R, G] exponents to [E, 32 G, R], as its layers multiply them."""
    values = torch.mul(fp4(blocks), _float(scales)[..., None])
    return values.flatten(-2).transpose(-1, -2).contiguous()


def unpacked(words: Tensor, bits: int, count: int) -> Tensor:
    """[.., W] words of 32 bits to [.., count] whole numbers of ``bits`` bits, lowest bits first.

    >>> unpacked(torch.tensor([0x7654]), bits=4, count=4).tolist()
    [4, 5, 6, 7]
    """
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
        numbers = torch.bitwise_and(words.int()[..., None] >> shifts, 2**bits - 1)
        return numbers.flatten(-2)[..., :count]
    start = torch.arange(count, device=words.device) * bits
    place, offset = start // 32, start % 32
    following = torch.nn.functional.pad(words.long() & 0xFFFFFFFF, (0, 1))  # a number may lie across two words
    return torch.bitwise_and((following[..., place] | (following[..., place + 1] << 32)) >> offset, 2**bits - 1)


def gptq(qweight: Tensor, qzeros: Tensor, scales: Tensor, groups: Tensor | None, bits: int, zero_offset: int) -> Tensor:
    """``W[o, i] = s[g(i), o] (q[i, o] - z[g(i), o])`` (Frantar et al., 2022, arXiv 2210.17323) [from code: AutoGPTQ].

    Args:
        qweight: [I * bits / 32, O] words, packed along the input.
        qzeros: [G, O * bits / 32] words, packed along the output.
        scales: [G, O].
        groups: [I], the group of each input; None: all of one width, in order.
        zero_offset: what was taken off each zero before it was packed.
    """
    inputs, outputs = qweight.shape[0] * 32 // bits, scales.shape[1]
    values = unpacked(qweight.T, bits, inputs)  # [O, I]
    zeros = (unpacked(qzeros, bits, outputs) + zero_offset) & (2**bits - 1)  # [G, O]
    if groups is None:
        return scaled(values, scales.T, zeros.T)
    groups = groups.long()
    return scaled(values, scales.T[:, groups], zeros.T[:, groups])


def awq(qweight: Tensor, qzeros: Tensor, scales: Tensor) -> Tensor:
    """``W[o, i] = s[g(i), o] (q[i, o] - z[g(i), o])`` (Lin et al., 2023, arXiv 2306.00978) [from code: AutoAWQ].

    Args:
        qweight: [I, O / 8] words of eight numbers of 4 bits, in :data:`AWQ_ORDER`.
        qzeros: [G, O / 8] words of the same kind.
        scales: [G, O].
    """
    order = torch.tensor(AWQ_ORDER, device=qweight.device)

    def numbers(words: Tensor) -> Tensor:
        return unpacked(words, 4, words.shape[1] * 8).reshape(len(words), -1, 8)[..., order].flatten(-2)

    return scaled(numbers(qweight).T, scales.T, numbers(qzeros).T).contiguous()


def packed_rows(
    words: Tensor, scale: Tensor, shape: Sequence[int], zero: Tensor | None, groups: Tensor | None
) -> Tensor:
    """compressed-tensors' ``pack-quantized``: rows of signed numbers, stored with the smallest as 0 [from code].

    Args:
        words: [R, C * bits / 32], packed along the row.
        scale: [R, 1] or [R, G].
        shape: R and C, which is at least 32.
        zero: [R * bits / 32, G] words, packed along the column.
        groups: [C], the group of each column; None or negative: all of one width, in order.

    Raises:
        ValueError: numbers of other than 2, 4 or 8 bits, which versions pack in two ways.
    """
    rows, columns = shape
    bits = words.shape[1] * 32 // columns  # the rest of a last word rounds away
    if 32 % bits:
        raise ValueError(f"{words.shape[1]} words are no row of {columns} numbers of 2, 4 or 8 bits")
    smallest = 2 ** (bits - 1)
    values = unpacked(words, bits, columns) - smallest
    zeros = None if zero is None else unpacked(zero.T, bits, rows).T - smallest
    if groups is None or groups.min() < 0:
        return scaled(values, scale, zeros)
    groups = groups.long()
    return scaled(values, scale[:, groups], None if zeros is None else zeros[:, groups])


def _float(scale: Tensor) -> Tensor:
    return (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()


def _spread(scale: Tensor, shape: Sequence[int], blocks: Sequence[Sequence[int]]) -> Tensor:
    """One entry a value, or one that stands for a whole dimension."""
    if scale.numel() == 1:
        return scale.reshape(())
    scale = scale.reshape(*scale.shape, *[1] * (len(shape) - scale.dim()))
    sides = [(1,) * (len(shape) - 2) + tuple(block) for block in blocks]
    fitting = (side for side in sides if all(-(-n // b) == s for n, b, s in zip(shape, side, scale.shape, strict=True)))
    side = next(fitting, None) or tuple(max(1, n // s) for n, s in zip(shape, scale.shape, strict=True))
    for dim, (size, width) in enumerate(zip(shape, side, strict=True)):
        if scale.shape[dim] not in (1, size):
            scale = scale.repeat_interleave(width, dim)[(slice(None),) * dim + (slice(size),)]
        if scale.shape[dim] not in (1, size):
            raise ValueError(f"scales of shape {tuple(scale.shape)} fit no blocks of weights of shape {tuple(shape)}")
    return scale
