"""Generalized Householder matrices I - beta k k^T, their products, and two compact ways to write such a product.

Tokens are rows: k is (..., C, K), v is (..., C, V), beta is (..., C). Any leading dimensions are a batch.
The product runs in the order the recurrence meets it, S_C = S_0 M_1 M_2 ... M_C, so the first token stands leftmost.

    WY representation:  M_1 ... M_C = I - W^T K          (chapter 5; Bischof & Van Loan 1987; paper, eq. 7)
    UT transform:       W = UT K,  U = UT V              (chapter 6; Joffrain et al. 2006; paper, eq. 10-11)
"""

import torch


def householder(k, beta):
    """I - beta k k^T (eq. 4.4) for k: (..., K), beta: (...). Returns (..., K, K).

    Eigenvalues: 1 (K - 1 times) and 1 - beta |k|^2.
    """
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    return eye - beta[..., None, None] * k[..., :, None] * k[..., None, :]


def apply_householder(S, k, beta):
    """S (I - beta k k^T), (..., V, K), without the matrix (eq. 4.8).

    S: (..., V, K), k: (..., K), beta: (...). Cost: about 4VK FLOPs.
    """
    read = (S @ k[..., None])[..., 0]                                    # (..., V)
    return S - beta[..., None, None] * read[..., :, None] * k[..., None, :]


def householder_product(k, beta):
    """M_1 M_2 ... M_C by C matrix products: (..., K, K). Cost: 2CK^3 FLOPs; the others exist to avoid it."""
    P = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device).expand(*k.shape[:-2], -1, -1)
    for k_t, beta_t in zip(k.unbind(-2), beta.unbind(-1)):
        P = P @ householder(k_t, beta_t)
    return P


def reflections(Q):
    """Reflections whose product is the orthogonal Q: (K, K) (eq. 4.14).

    One column after the other is sent home: the mirror with the key Q e_i - e_i takes Q e_i to e_i,
    and leaves e_1 ... e_{i-1} where they are. Returns unit keys (m, K), m <= K, for beta = 2.
    """
    rest, keys = Q, []
    for i, e_i in enumerate(torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)):
        k = rest[:, i] - e_i                                             # (K,)
        if k.norm() > 100 * len(Q) * torch.finfo(Q.dtype).eps:           # else it is home
            keys.append(k / k.norm())
            rest = apply_householder(rest.mT, keys[-1], torch.full_like(k[0], 2)).mT
    return torch.stack(keys) if keys else Q.new_zeros(0, Q.shape[-1])


def wy_w(k, beta):
    """The rows w_t of W in M_1 ... M_C = I - sum_t w_t k_t^T (eq. 5.3; paper, eq. 7).

    w_t = beta_t (k_t - sum_{i<t} w_i (k_i^T k_t)).  Returns (..., C, K). Cost: 3C^2 K FLOPs in C sequential steps.
    """
    return wy_u(k, k, beta)


def wy_u(k, v, beta):
    """The rows u_t of U in S_C = S_0 M_1 ... M_C + sum_t u_t k_t^T (eq. 5.4; paper, eq. 7): pseudo-values.

    u_t = beta_t (v_t - sum_{i<t} u_i (k_i^T k_t)).  Returns (..., C, V). Cost: C^2 (2K + V) FLOPs, C steps in sequence.
    """
    overlap = k @ k.mT                                                   # (..., C, C)  k_i^T k_t
    u = []
    for t in range(k.shape[-2]):
        u_t = v[..., t, :]                                               # (..., V)
        if t:
            u_t = u_t - (overlap[..., t, None, :t] @ torch.stack(u, -2))[..., 0, :]
        u.append(beta[..., t, None] * u_t)
    return torch.stack(u, -2)


def ut_system(k, beta):
    """A = stril(diag(beta) K K^T), (..., C, C): how much token t (row) sees of earlier ones (columns) (eq. 6.2)."""
    return (beta[..., :, None] * (k @ k.mT)).tril(-1)


def ut_by_solve(k, beta):
    """UT = (I + A)^-1 diag(beta) by one batched triangular solve (eq. 6.3). Returns (..., C, C).

    Cost: C^3 FLOPs. The solver works through all C columns of the right side; a diagonal one needs only C^3 / 3.
    """
    A = ut_system(k, beta)
    return torch.linalg.solve_triangular(A, torch.diag_embed(beta), upper=False, unitriangular=True)


def ut_by_substitution(k, beta):
    """The same UT, row by row (eq. 6.4). What a kernel would do."""
    return inverse_by_substitution(ut_system(k, beta)) * beta[..., None, :]


def ut_by_blocks(k, beta):
    """The same UT by recursive block inverse (eq. 6.5)."""
    return inverse_by_blocks(ut_system(k, beta)) * beta[..., None, :]


def ut_by_power_series(k, beta):
    """The same UT from powers of A (eq. 6.6). A trap, kept to be measured; see `inverse_by_power_series`."""
    return inverse_by_power_series(ut_system(k, beta)) * beta[..., None, :]


def inverse_by_substitution(A):
    """(I + A)^-1 for a strictly lower triangular A: (..., C, C). Row t is e_t - sum_{i<t} A_ti row i (eq. 6.4)."""
    rows = []
    for t, e_t in enumerate(torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)):
        row = e_t.expand(A[..., t, :].shape)                             # (..., C)
        if t:
            row = row - (A[..., t, None, :t] @ torch.stack(rows, -2))[..., 0, :]
        rows.append(row)
    return torch.stack(rows, -2)


def inverse_by_blocks(A):
    """(I + A)^-1 for a strictly lower triangular A: (..., C, C), by halves (eq. 6.5): products instead of a long chain.

    [I + A11    0   ]^-1   [      X11          0 ]
    [  A21   I + A22]    = [-X22 A21 X11     X22 ],    X11 and X22 the inverses of the blocks on the diagonal
    """
    C = A.shape[-1]
    if C <= 1:
        return torch.ones_like(A)
    h = C // 2
    top, bottom = inverse_by_blocks(A[..., :h, :h]), inverse_by_blocks(A[..., h:, h:])
    corner = -bottom @ A[..., h:, :h] @ top                              # (..., C - h, h)
    above = corner.new_zeros(*A.shape[:-2], h, C - h)
    return torch.cat([torch.cat([top, above], -1), torch.cat([corner, bottom], -1)], -2)


def inverse_by_power_series(A):
    """(I + A)^-1 for a strictly lower triangular A: (..., C, C), in about 2 log2 C products (eq. 6.6). A trap.

    A^C = 0, so I - A + A^2 - ... ends, and factors into (I - A)(I + A^2)(I + A^4)(I + A^8) ... Exact on paper, quick,
    and right for random keys. But where keys repeat the entries of A^n count paths: for 64 equal unit keys and beta = 1
    they reach 5e17, the entries of (I + A)^-1 are 1, -1 and 0, and every digit cancels (chapter 6).
    """
    C = A.shape[-1]
    power = -A
    inverse = torch.eye(C, dtype=A.dtype, device=A.device) + power
    for _ in range((C - 1).bit_length() - 1):                            # from powers below 2^n to powers below 2^(n+1)
        power = power @ power
        inverse = inverse + inverse @ power
    return inverse
