"""Riemann's zeta function in plain Python, for tasks that compute counts before torch is needed."""

EULER_MACLAURIN = (
    12.0,
    -720.0,
    30240.0,
    -1209600.0,
    47900160.0,
    -1.8924375803183791606e9,
    7.47242496e10,
    -2.950130727918164224e12,
    1.1646782814350067249e14,
    -4.5979787224074726105e15,
    1.8152105401943546773e17,
    -7.1661652561756670113e18,
)
"""(2k)! / B_2k for k = 1 to 12, B being Bernoulli's numbers."""

DIRECT = 10
"""Terms that are summed one by one."""

EPSILON = 2.0**-53


def zeta(s: float) -> float:
    """The sum of n^-s over all n >= 1, for s > 1.

    Ten terms, then the Euler-Maclaurin formula, in the order of Cephes' ``zeta`` (S. Moshier),
    which PyTorch uses too: `torch.special.zeta` gives the same double.
    """
    total = 1.0
    for n in range(2, DIRECT + 1):
        term = float(n) ** -s
        total += term
        if term < EPSILON * total:
            return total
    total += term * DIRECT / (s - 1.0)
    total -= 0.5 * term
    factor = 1.0
    for k, divisor in enumerate(EULER_MACLAURIN):
        factor *= s + 2 * k
        term /= DIRECT
        correction = factor * term / divisor
        total += correction
        if abs(correction / total) < EPSILON:
            break
        factor *= s + 2 * k + 1
        term /= DIRECT
    return total
