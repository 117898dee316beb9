"""Rotary positions (RoPE, arXiv 2104.09864): a product of two rotated vectors knows how far apart they are."""

import torch


def rotate(x, at, theta=10_000.0):
    """Turn the pair of entries (i, i + K/2) of x: (..., K) by at * theta^(-2i / K), where `at` is of shape (...).

    Angles are computed in float64, so that far positions are told apart as well as near ones.
    """
    half = x.shape[-1] // 2
    speed = theta ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
    angle = at[..., None] * speed                                        # (..., K / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def check_rotary(width, theta, name="d_model", value=None):
    """Raise ValueError unless heads of this width can be rotated."""
    if width % 2:
        raise ValueError(f"{name}: got {value}, which makes heads {width} wide, expected an even width: "
                         "rotary positions turn pairs of entries.")
    if isinstance(theta, bool) or not isinstance(theta, (int, float)) or not theta > 1:
        raise ValueError(f"rope_theta: got {theta!r}, expected a number above 1.")
