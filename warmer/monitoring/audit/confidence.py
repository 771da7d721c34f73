"""What a sample says about all keys: the share that is wrong at the most, and that which is right as text."""

from __future__ import annotations

import math

# The 95 % quantile of the normal distribution.
Z = 1.645


def wrong_at_most(wrong: int, judged: int) -> float:
    """Return the share that is wrong at the most, at 95 % confidence, when so many of a sample are.

    With none wrong it is 3/n, the rule of three: J. A. Hanley and A. Lippman-Hand, "If nothing goes
    wrong, is everything all right?", JAMA 249 (1983), 1743-1745. With some wrong, the upper limit of
    the same (Poisson) distribution: N. Gehrels, "Confidence limits for small numbers of events in
    astrophysical data", Astrophysical Journal 303 (1986), 336-346.
    """
    if not judged:
        return 1.0
    above = wrong + 1
    limit = 3.0 if not wrong else above * (1 - 1 / (9 * above) + Z / (3 * math.sqrt(above))) ** 3
    return min(1.0, limit / judged)


def percent_right(wrong_share: float) -> str:
    """Return the share that is right as text: rounded down to its nines and one digit after them."""
    if wrong_share <= 0:
        return "100 %"
    # The margins keep a share such as 0.001 from being rounded twice.
    digits = max(2, math.ceil(-math.log10(wrong_share) - 1e-9))
    right = 10**digits - math.ceil(wrong_share * 10**digits - 1e-9)
    return f"{right / 10 ** (digits - 2):.{digits - 2}f} %"
