"""Single-index and multi-index targets: polynomials of a few directions of x, as sums of Hermite terms."""

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

from ovpnet.problem.activations import hermite_monomials
from ovpnet.problem.series import Layer, Series
from ovpnet.spec.activation import activation_of
from ovpnet.spec.choices import Concept, concept
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.problem.sets import Weights
    from ovpnet.spec.config import Config

# The largest degree of a term: of m different directions it is a sum of 2^(m - 1) neurons of (3.1).
MAX_DEGREE = 16

Degrees = tuple[int, ...]  # of a term or a monomial in each of the r directions


@concept("hermite")
class Hermite(Concept):
    """Single-index (r = 1) and multi-index targets: polynomials of r orthonormal directions u_i.

    F*(x) = sum_t c_t prod_i h_{q_ti}(z_i), z_i = scale <u_i, x>, with h_j the normalized probabilists' Hermite
    polynomials (E h_i(z) h_j(z) = 1[i = j] for z ~ N(0, 1)). Each term t has one entry of `degrees`, its degrees q_t1,
    q_t2, ... in the directions. r is the length of the longest entry, and each output has directions of its own.
    `degrees=[[3]]` is h_3(z_1), `degrees=[[1],[1,1],[1,1,1]]` the staircase z_1 + z_1 z_2 + z_1 z_2 z_3.
    Weights: u [k, r, d], the rows of each output orthonormal.

    F* is in class (3.1), for every input with ||x|| = 1. A polynomial of <u_1, x>, ..., <u_r, x> is a sum of powers
    a <w, x>^m of linear forms, w a unit vector. One with m >= 1 is the neuron phi(<w, x>) <w, x>, phi(t) = a t^(m-1). A
    constant a is a ||x||^2, the d neurons phi(<e_j, x>) <e_j, x> with phi(t) = a t. Output weights are 1, since phi
    holds the factors. Powers with the same w share a neuron. A product of several directions becomes powers by
    polarization,

        prod_i z_i^(q_i) = sum_e prod_i (-1)^(e_i) C(q_i, e_i) (sum_i (q_i - 2 e_i) z_i)^m / (2^m m!),

    m the sum of the q_i and 0 <= e_i <= q_i. The complexities are those of this sum, and no minimum over all sums.
    """

    degrees: list[list[int]] = key([[2]], "degrees of each term in the directions u_1, u_2, ...; they add up to at "
                                   f"most {MAX_DEGREE}", low=0, high=MAX_DEGREE)
    coefficients: list[float] = key([1.0], "coefficient of each term, cycled")
    scale: float | None = key(None, "z_i = scale <u_i, x>; null = sqrt(inputs.d), which makes the variance of z_i 1 "
                              "for isotropic inputs", above=0)

    outputs = None
    dimension = None
    in_class = True
    pure_noise = False

    def check(self, config: "Config") -> None:
        if self.directions > config.inputs.d:
            raise ConfigError("inputs.d", config.inputs.d, f"must be at least the number of directions of "
                              f"concept.degrees ({self.directions})")
        for term in self.degrees:
            if sum(term) > MAX_DEGREE:
                raise ConfigError("concept.degrees", self.degrees, "the degrees of a term must add up to at most "
                                  f"{MAX_DEGREE}")
        if len(self.coefficients) > len(self.degrees):
            raise ConfigError("concept.coefficients", self.coefficients, "at most one for each of the "
                              f"{len(self.degrees)} entries of concept.degrees")
        super().check(config)

    def series(self, d: int) -> Series:
        return _series(tuple(self.terms.items()), self._scale(d), d, tuple(self.coefficients))

    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        import torch

        from ovpnet.problem.sets import orthonormal

        return {"u": orthonormal(torch.from_numpy(rng.standard_normal((self.k, self.directions, d))))}

    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        u = weights["u"]
        z = self._scale(x.shape[-1]) * (x @ u.flatten(-3, -2).mT).unflatten(-1, u.shape[-3:-1])  # [..., n, k, r]
        h = [z.new_ones(z.shape), z]
        for j in range(1, max(map(max, self.terms))):
            h.append((z * h[j] - math.sqrt(j) * h[j - 1]) / math.sqrt(j + 1))
        total = z.new_zeros(z.shape[:-1])
        for term, coefficient in self.terms.items():
            values = z.new_full(z.shape[:-1], coefficient)
            for i, degree in enumerate(term):
                if degree > 0:
                    values = values * h[degree][..., i]
            total = total + values
        return total

    def project(self, weights: "Weights") -> "Weights":
        from ovpnet.problem.sets import orthonormal

        return {"u": orthonormal(weights["u"])}

    @property
    def directions(self) -> int:
        """Return the number r of directions of an output."""
        return max(map(len, self.degrees))

    @property
    def terms(self) -> dict[Degrees, float]:
        """Return the coefficient of each product of Hermite polynomials, by its degrees in all r directions."""
        terms: dict[Degrees, float] = {}
        for t, degrees in enumerate(self.degrees):
            padded = (*degrees, *[0] * (self.directions - len(degrees)))
            terms[padded] = terms.get(padded, 0.0) + self.coefficients[t % len(self.coefficients)]
        return terms

    @property
    def information_exponent(self) -> int | None:
        """Return k* of a single-index target: the least j >= 1 with E g(z) h_j(z) != 0 (Ben Arous et al., JMLR 2021).

        It is None for a constant, and for several directions (see `leap`).
        """
        found = [degrees[0] for degrees, c in self.terms.items() if c != 0 and degrees[0] > 0]
        return min(found, default=None) if self.directions == 1 else None

    @property
    def generative_exponent(self) -> int | None:
        """Return p* of a single-index target: the least k* over all T(y), without noise (Damian et al., COLT 2024).

        It is 2 for an even polynomial g, else 1; None for a constant, and for several directions.

        p* = 1 unless E[z | y] = 0 for almost all y. For large |y|, g(z) = y has one real root if the degree of g is
        odd, and E[z | y] is that root. If it is even there are two, z1 < 0 < z2. Then E[z | y] = 0 says that the
        Gaussian densities at z1 and z2 have the same derivative in y. Both vanish as |y| grows, so they are equal,
        z1 = -z2, and g is even. An even g has E[z | y] = 0 by symmetry; E[z^2 | y] grows with |y|, so that h_2 is
        correlated with some T(y).
        """
        if self.information_exponent is None:
            return None
        return 1 if any(degrees[0] % 2 for degrees, c in self.terms.items() if c != 0) else 2

    @property
    def leap(self) -> int | None:
        """Return the least L with which components of degree at most L in new directions find all, one by one.

        It is k* if r = 1, and None for a constant. It does not depend on the basis of the directions (the isotropic
        leap of Abbe, Boix-Adsera, Misiakiewicz, COLT 2023). For example, z_1 + z_2 + z_1 z_2 has leap 2: z_1 + z_2 is
        found first, and the rest is quadratic in z_1 - z_2. The result is exact up to rounding.
        """
        return _leap({degrees: c for degrees, c in self.terms.items() if c != 0 and any(degrees)})

    def _scale(self, d: int) -> float:
        return math.sqrt(d) if self.scale is None else self.scale


@lru_cache(maxsize=64)  # a sweep asks once per run
def _series(terms: tuple[tuple[Degrees, float], ...], scale: float, d: int, coefficients: tuple[float, ...]) -> Series:
    """Return the neurons of (3.1) that add up to F*, as the docstring of `Hermite` says."""
    monomials = _monomials(dict(terms))
    constant = monomials.pop((0,) * len(terms[0][0]), 0.0)
    neurons = [activation_of("poly", 1.0, [a * scale**m for m, a in enumerate(powers)][1:])
               for powers in _powers(monomials).values()]
    if constant != 0 or not neurons:
        neurons += [activation_of("poly", 1.0, [0.0, constant])] * d
    named = "concept.coefficients", list(coefficients)
    return Series(Layer(tuple(neurons), "", (named,) * len(neurons), "a neuron of F*"), named)


def _monomials(terms: Mapping[Degrees, float]) -> dict[Degrees, float]:
    """Return the coefficients of z_1^(q_1) ... z_r^(q_r) in the sum of Hermite terms, by (q_1, ..., q_r)."""
    found: dict[Degrees, float] = {}
    for degrees, coefficient in terms.items():
        for monomial in product(*(range(degree % 2, degree + 1, 2) for degree in degrees)):
            factors = (hermite_monomials([0.0] * q + [1.0])[p] for p, q in zip(monomial, degrees, strict=True))
            found[monomial] = found.get(monomial, 0.0) + coefficient * math.prod(factors)
    return {monomial: coefficient for monomial, coefficient in found.items() if coefficient != 0}


def _powers(monomials: Mapping[Degrees, float]) -> dict[Degrees, list[float]]:
    """Return factors a_0, a_1, ... of the powers of <w, z>, by the directions w as shortest vectors of whole numbers.

    In <w, z>, w is the unit vector of its direction.
    """
    found: dict[Degrees, list[float]] = {}
    for monomial, coefficient in monomials.items():
        m = sum(monomial)
        for vector, factor in _polarized(monomial):
            divisor = math.gcd(*vector) * (1 if next(filter(None, vector)) > 0 else -1)
            powers = found.setdefault(tuple(each // divisor for each in vector), [])
            powers += [0.0] * (m + 1 - len(powers))
            powers[m] += coefficient * factor * math.copysign(math.hypot(*vector) ** m, divisor**m)
    return found


def _polarized(monomial: Degrees) -> list[tuple[Degrees, float]]:
    """Return vectors v of whole numbers, and factors a, with prod_i z_i^(q_i) = sum a <v, z>^m."""
    if sum(q > 0 for q in monomial) == 1:
        return [(tuple(int(q > 0) for q in monomial), 1.0)]
    m, found = sum(monomial), []
    for e in product(*(range(q + 1) for q in monomial)):
        vector = tuple(q - 2 * each for q, each in zip(monomial, e, strict=True))
        if any(vector):
            factor = math.prod((-1) ** each * math.comb(q, each) for q, each in zip(monomial, e, strict=True))
            found.append((vector, factor / (2**m * math.factorial(m))))
    return found


def _leap(terms: Mapping[Degrees, float]) -> int | None:
    """Return the isotropic leap of the sum of Hermite terms, none of them constant; None if there is none.

    With directions V found and W the rest, the components of degree j in W are those of the Hermite tensors C_m in
    W^j x V^(m-j). They show the span of C_m(., w, ..., w, v, ..., v) in W, over all w and v; r generic ones are enough.
    C_m(y, ..., y) is the sum over terms of degree m of c prod_i y_i^(q_i) / sqrt(q_i!), up to a factor. So these
    vectors are coefficients of the gradient of that polynomial at v + tau w, in powers of tau.
    """
    import numpy as np
    from numpy.polynomial import polynomial

    if not terms:
        return None
    r, largest = len(next(iter(terms))), max(map(abs, terms.values()))
    rng = np.random.default_rng(0)

    def components(found: "np.ndarray", degree: int) -> "np.ndarray":
        """Return vectors in W [.., r] that components of this degree in W show; `found` is the projection on V."""
        rest = np.eye(r) - found
        vectors = []
        for _ in range(r):
            v, w = found @ rng.standard_normal(r), rest @ rng.standard_normal(r)
            gradients = {m: np.zeros((r, m)) for m in {sum(degrees) for degrees in terms}}
            for degrees, c in terms.items():
                for i in (i for i in range(r) if degrees[i]):
                    total = np.array([c / largest * degrees[i] / math.sqrt(math.prod(map(math.factorial, degrees)))])
                    for n in range(r):
                        total = polynomial.polymul(total, polynomial.polypow([v[n], w[n]], degrees[n] - (n == i)))
                    gradients[sum(degrees)][i, :len(total)] += total
            vectors += [rest @ each[:, degree - 1] for each in gradients.values() if each.shape[1] >= degree]
        return np.array(vectors).reshape(-1, r)

    found, leap = np.zeros((r, r)), 1
    rank = np.linalg.matrix_rank
    every = rank(np.concatenate([components(found, m) for m in {sum(degrees) for degrees in terms}]), tol=1e-9)
    while rank(found, tol=1e-9) < every:
        shown = np.concatenate([components(found, degree) for degree in range(1, leap + 1)])
        _, sizes, rows = np.linalg.svd(shown)
        new = rows[:int((sizes > 1e-9).sum())]
        if len(new):
            found = found + new.T @ new
        else:
            leap += 1
    return leap
