"""The mathematics of one layer in PyTorch, one home per rule.

Every form of a rule has the same arguments and gives the same answer.

    delta_rule/           the rule of this book, in every form the book finds
    linear_attention.py   a memory that only adds
    decay.py              memories that forget: RetNet, GLA
    selective_scan.py     the memory of Mamba
    associative.py        all of them, and more, in one table
"""

from .decay import (gated_linear_attention_chunkwise, gated_linear_attention_parallel,
                    gated_linear_attention_recurrent, retention_log_decay)

from .delta_rule import (delta_rule_attention, delta_rule_chunkwise, delta_rule_chunkwise_by_hand, delta_rule_parallel,
                         delta_rule_recurrent, delta_rule_recurrent_backward, delta_rule_scan, erase_then_write_step,
                         sgd_step, transition_step)
from .linear_attention import linear_attention_chunkwise, linear_attention_parallel, linear_attention_recurrent
from .selective_scan import selective_scan_chunkwise, selective_scan_parallel, selective_scan_recurrent

__all__ = [
    "delta_rule_attention", "delta_rule_chunkwise", "delta_rule_chunkwise_by_hand", "delta_rule_parallel",
    "delta_rule_recurrent", "delta_rule_recurrent_backward", "delta_rule_scan", "erase_then_write_step",
    "gated_linear_attention_chunkwise", "gated_linear_attention_parallel", "gated_linear_attention_recurrent",
    "linear_attention_chunkwise", "linear_attention_parallel", "linear_attention_recurrent",
    "retention_log_decay", "selective_scan_chunkwise", "selective_scan_parallel", "selective_scan_recurrent",
    "sgd_step", "transition_step",
]
