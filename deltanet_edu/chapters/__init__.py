"""What the tutor runs on: a folder a chapter, `problems.py` and `lesson.py`, twins of book/problems and book/lessons.

The tutor imports a chapter when one of its ids is first asked for; nothing else imports one.
"""

import os
import sys

import torch

# Without a GPU, Triton's interpreter runs the kernels of chapters 10 to 13. It is chosen when Triton is first imported,
# which other chapters do by the way (torch.utils.flop_counter does): hence here, before any of them.
if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
