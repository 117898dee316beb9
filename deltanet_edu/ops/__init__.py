"""The mathematics of one layer in PyTorch. Every form of a rule has the same arguments and gives the same answer."""

from .chunkwise import delta_rule_chunkwise
from .chunkwise_backward import delta_rule_chunkwise_by_hand
from .linear_attention import linear_attention_chunkwise, linear_attention_parallel, linear_attention_recurrent
from .parallel import delta_rule_attention, delta_rule_parallel
from .recurrent import delta_rule_recurrent, delta_rule_recurrent_backward, erase_then_write_step, sgd_step, transition_step
from .scan import delta_rule_scan
