"""Protocols: how much of a loss is chosen on dev before it is tested."""

from __future__ import annotations

MEANING = {
    "tuned": "each loss at its best trial on dev",
    "defaults": "each loss at its published defaults, its learning rate chosen on dev",
    "untouched": "each loss at its published defaults and the encoder's standard learning rate; nothing is tuned",
}
"""What each protocol means."""

SHORT = {"tuned": "all tuned alike", "defaults": "learning rate tuned", "untouched": "nothing tuned"}
"""What each protocol is called in a figure."""

PROTOCOLS = tuple(MEANING)
