"""What the tutor runs on: a folder a chapter, `problems.py` and `lesson.py`, twins of book/problems and book/lessons.

The tutor imports a chapter when one of its ids is first asked for; nothing else imports one.
"""
