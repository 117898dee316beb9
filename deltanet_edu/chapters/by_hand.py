"""The numbers that the exercises ask to be worked out by hand, one step a line.

The arguments are what the question gives; x_j is an entry of x, because a check says these names. It changes one step
at a time, and so recognizes where a number that is not the right one may have come from. Where one works it out in two
ways, both are here.
"""

import math


def first_reading(v1=2.0, v2=-1.0, k1=(1.0, 0.0), k2=(0.6, 0.8), q=(0.0, 1.0)):
    """1.1."""
    S = [v1 * k1_j + v2 * k2_j for k1_j, k2_j in zip(k1, k2)]
    return sum(S_j * q_j for S_j, q_j in zip(S, q))


def reading_after_a_long_key(v=4.0, old=10.0, k_squared=1.5):
    """2.3."""
    error = old - v
    left = 1 - k_squared
    return v + left * error


def reading_after_a_correction(v=4.0, old=10.0, k_squared=1.5):
    """2.3: the old reading, minus its error as far as the key reaches."""
    return old - k_squared * (old - v)


def gradient_of_beta(S=(2.0, 1.0), k=(0.8, 0.6), q=(0.0, 1.0), v=0.2, do=2.0, beta=0.25):
    """3.1."""
    error = sum(S_j * k_j for S_j, k_j in zip(S, k)) - v
    dS = [do * q_j for q_j in q]
    dS_k = sum(dS_j * k_j for dS_j, k_j in zip(dS, k))
    return -dS_k * error


def tokens_that_fill_a_memory(K=128, V=64, cache_bytes=2, memory_bytes=4):
    """3.5."""
    memory = K * V * memory_bytes
    token = (K + V) * cache_bytes
    return math.floor(memory / token) + 1


def memory_after_one_key(S=(1.0, 2.0), k=(2.0, 1.0), beta=0.3):
    """4.1."""
    read = sum(S_j * k_j for S_j, k_j in zip(S, k))
    return tuple(S_j - beta * read * k_j for S_j, k_j in zip(S, k))


def third_write(v1=2.0, v2=3.0, v3=5.0, beta_2=0.5, overlap_12=0.8, overlap_13=1.0, overlap_23=0.8):
    """5.1."""
    u1 = v1
    u2 = beta_2 * (v2 - u1 * overlap_12)
    return v3 - u1 * overlap_13 - u2 * overlap_23


def tokens_until_the_loop_is_cheaper(K=64, V=64):
    """5.6."""
    loop = 2 * K * V
    earlier = (K + V) / 2
    return math.floor(loop / earlier + 1) + 1


def entry_of_UT(beta_1=0.5, beta_2=0.5, beta_3=1.0, overlap_21=0.8, overlap_31=0.6, overlap_32=0.96):
    """6.1."""
    A_21, A_31, A_32 = beta_2 * overlap_21, beta_3 * overlap_31, beta_3 * overlap_32
    return (A_32 * A_21 - A_31) * beta_1


def paths(T=40):
    """6.7."""
    between = T - 2
    return 2**between


def chunks(T=1000, C=64):
    """7.1."""
    return math.ceil(T / C)


def second_write_by_the_loop(S=(1.0, 2.0), k1=(1.0, 0.0), k2=(0.8, 0.6), v1=3.0, v2=5.0, beta_2=0.5):
    """8.1."""
    x1 = v1 - sum(S_j * k1_j for S_j, k1_j in zip(S, k1))
    S1 = [S_j + x1 * k1_j for S_j, k1_j in zip(S, k1)]
    read = sum(S1_j * k2_j for S1_j, k2_j in zip(S1, k2))
    return beta_2 * (v2 - read)


def second_write_by_u_and_w(S=(1.0, 2.0), k1=(1.0, 0.0), k2=(0.8, 0.6), v1=3.0, v2=5.0, beta_2=0.5):
    """8.1: with u and w."""
    overlap = sum(k1_j * k2_j for k1_j, k2_j in zip(k1, k2))
    u2 = beta_2 * (v2 - overlap * v1)
    w2 = [beta_2 * (k2_j - overlap * k1_j) for k1_j, k2_j in zip(k1, k2)]
    return u2 - sum(S_j * w2_j for S_j, w2_j in zip(S, w2))


def gradient_of_a_write_strength(S=(2.0, 1.0), k=(0.8, 0.6), q=(0.0, 1.0), v=3.0, do=3.0, beta=0.25):
    """9.1."""
    error = v - sum(S_j * k_j for S_j, k_j in zip(S, k))
    overlap = sum(q_j * k_j for q_j, k_j in zip(q, k))
    dx = do * overlap
    return dx * error


def mebibytes_of_memories(T=8192, C=32, K=96, V=128, number_bytes=4):
    """9.10."""
    chunks = T / C
    numbers = chunks * K * V
    return numbers * number_bytes / 2**20


def independent_sums(first=6, second=10):
    """14.1."""
    parts = first + second
    return parts - 1


def epsilon_without_the_scale(D=1024, H=16, eps=1):
    """14.6, in millionths."""
    K = D / H
    return eps * K


def tokens_until_the_cache_is_larger(D=128, H=2, taps=4):
    """16.6."""
    matrices = H * (D / H)**2
    inputs = 3 * (taps - 1) * D
    token = 2 * D
    return math.floor((matrices + inputs) / token) + 1


def megabytes_of_decoding(D=2048, H=16, layers=24, texts=20, taps=4, memory_bytes=4, input_bytes=2):
    """16.11."""
    memories = H * (D / H)**2 * memory_bytes
    inputs = 3 * (taps - 1) * D * input_bytes
    text = layers * (memories + inputs)
    return texts * text / 1e6
