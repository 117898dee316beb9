"""The delta rule, S_t = S_{t-1} - beta_t (S_{t-1} k_t - v_t) k_t^T, in the order in which the book finds its forms.

    recurrent      one token at a time: the definition, and its gradients by hand             chapters 2 and 3
    householder    what one token does to the memory; WY representation and UT transform      chapters 4 to 6
    scan           an associative scan, the road not taken                                    chapter 7
    chunkwise      one chunk at a time                                                        chapter 8
    parallel       the whole sequence as one chunk                                            chapter 8
    backward       the chunkwise form with its backward pass written by hand                  chapter 9
"""

from .backward import delta_rule_chunkwise_by_hand
from .chunkwise import delta_rule_chunkwise
from .parallel import delta_rule_attention, delta_rule_parallel
from .recurrent import (delta_rule_recurrent, delta_rule_recurrent_backward, erase_then_write_step, sgd_step,
                        transition_step)
from .scan import delta_rule_scan

__all__ = [
    "delta_rule_attention", "delta_rule_chunkwise", "delta_rule_chunkwise_by_hand", "delta_rule_parallel",
    "delta_rule_recurrent", "delta_rule_recurrent_backward", "delta_rule_scan", "erase_then_write_step",
    "sgd_step", "transition_step",
]
