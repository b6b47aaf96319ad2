"""Table 1: the parameters of Algorithms 2 and 3, from the widths and the precision (eps_a = 1)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table1:
    """Table 1 at widths m1, m2, precision eps0 in (0, 1), and the concept's complexity C0 > 0 (inf is allowed).

    C0 = C_eps(Phi, sqrt(p2) C_eps(phi, 1)) C_eps(phi, 1) O~(p1 sqrt(p2) k). The constants inside O~ and Theta are free.

    The paper prints lambda_v = 2 / tau_v^2. Its caption says that ||V'||_F <= tau_v' whenever the regularizer is
    bounded (by 2), which takes lambda_v = 2 / (tau_v')^2, as it is here. Only the lambdas and sigmas enter the
    algorithms; the taus are the norms that the proof expects of W' and V'.
    """

    m1: int
    m2: int
    eps0: float
    C0: float = 1.0

    @property
    def reached_tau_v(self) -> float:
        """tau_v' = eps0^(-1/2) m1^(1/2 - 0.005) / m2^(1/2): what ||V'||_F comes to."""
        return self.eps0**-0.5 * self.m1**0.495 / self.m2**0.5

    @property
    def reached_tau_w(self) -> float:
        """tau_w' = C0 / (eps0^(1/4) m1^(3/4 - 0.005)): what ||W'||_{2,4} comes to."""
        return self.C0 / (self.eps0**0.25 * self.m1**0.745)

    @property
    def tau_v(self) -> float:
        """tau_v = m1^(1/2 - 0.001) / m2^(1/2) >> tau_v': how far V' may go for the coupling to hold."""
        return self.m1**0.499 / self.m2**0.5

    @property
    def tau_w(self) -> float:
        """tau_w = 1 / m1^(3/4 - 0.01) >> tau_w': how far W' may go for the coupling to hold."""
        return self.m1**-0.74

    @property
    def lambda_v(self) -> float:
        """lambda_v = 2 / (tau_v')^2, the coefficient of ||V'||_F^2."""
        return 2 / self.reached_tau_v**2

    @property
    def lambda_w(self) -> float:
        """lambda_w = 2 / (tau_w')^4, the coefficient of ||W'||_{2,4}^4; 0 if C0 is beyond float64."""
        return 2 * self.reached_tau_w**-4

    @property
    def sigma_v(self) -> float:
        """sigma_v = 1 / m2^(1/2 + 0.01), standard deviation of the entries of V^rho."""
        return self.m2**-0.51

    @property
    def sigma_w(self) -> float:
        """sigma_w = 1 / m1^(1 - 0.01), standard deviation of the entries of W^rho."""
        return self.m1**-0.99

