"""What networks compute: their principal components joined to shared features, and how alike two representations are.

activations are arrays (N, D) of one layer on the same N examples in one order, of any real dtype, float16 and
memory-mapped files included: they are read in blocks of rows. Sums are in float64. Every function raises ValueError for
values that are not finite (naming network and row), other shapes, and too few of anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdstats.metrics._arrays import UndefinedMetric, Values

if TYPE_CHECKING:
    import pandas as pd

Mode = Literal["robust", "released", "jiang"]
Scores = NDArray[np.float32]

SHARE = 0.9  # of a network's scores that are below the one from which on a component counts as present
_READ = 2**24  # numbers that are read at once
_LARGE = 2048  # examples and dimensions, beyond which components are found at random
_VARIES = 1e-10  # of the largest variance: what is below it is rounding


# Components ------------------------------------------------------------------------------------------------------


def principal_components(activations: ArrayLike, k: int = 50, *, seed: int = 0) -> Scores:
    """Scores of the k leading principal components, standardised: mean 0, variance 1 (ddof 0).

    With X centred by column, X = U S Vᵀ,

        scores = √N U[:, :k]

    so that columns are uncorrelated. The sign of a column, which is arbitrary, is the one that makes its largest score
    positive.

    Parameters
    ----------
    activations : (N, D)
    k : components, at most min(N − 1, D)
    seed : of the random test matrix, where it is one

    Returns
    -------
    (N, k) float32

    Raises
    ------
    ValueError
        Fewer dimensions than k, or fewer that vary: constant activations, copies.

    Notes
    -----
    From the eigenvectors of XᵀX or XXᵀ, whichever is smaller, to 2048 dimensions or examples; beyond, by randomised
    subspace iteration (10 further directions, 6 rounds).

    References
    ----------
    Halko, Martinsson & Tropp (2011), SIAM Rev. 53:217, algorithm 4.4.

    Examples
    --------
    >>> principal_components([[0.0, 3.0], [0.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], k=2).round(3)
    array([[ 1.414,  0.   ],
           [-1.414,  0.   ],
           [ 0.   ,  1.414],
           [ 0.   , -1.414]], dtype=float32)
    """
    x = _checked(activations, "activations")
    n, d = x.shape
    if not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k is {k!r}: a whole number of components, one or more")
    if k > min(n - 1, d):
        raise ValueError(
            f"k is {k}, but {n} examples of {d} dimensions have at most {min(n - 1, d)} components: take a smaller k"
        )
    mean, total = _moments(x)
    if not total > 0:
        raise ValueError("the activations are constant: every example has the same, so nothing varies")
    if min(n, d) > _LARGE:
        u = _randomised(x, mean, k, seed)
    elif d <= n:
        u = _by_covariance(x, mean, k)
    else:
        u = _by_gram(x, mean, k)
    variances = np.mean(u**2, axis=0)
    varying = int(np.sum(variances > _VARIES * total))
    if varying < k:
        raise ValueError(f"k is {k}, but only {varying} components vary: take k: {varying} or fewer")
    u /= np.sqrt(variances)
    u *= np.sign(u[np.abs(u).argmax(0), np.arange(k)])
    return u.astype(np.float32)


def _checked(activations: ArrayLike, name: str) -> NDArray[Any]:
    x = np.asanyarray(activations)
    if x.ndim != 2 or x.dtype.kind not in "fiu":
        raise ValueError(f"{name} are real numbers of shape (N, D), not {x.dtype} of shape {x.shape}")
    if len(x) < 3:
        raise ValueError(f"{name}: shape {x.shape}; three examples or more are needed")
    for start, block in _blocks(x):
        if not np.isfinite(block).all():
            row, column = np.argwhere(~np.isfinite(block))[0]
            raise ValueError(
                f"{name}: row {start + row}, dimension {column} is {block[row, column]}; it must be finite"
            )
    return x


def _blocks(x: NDArray[Any]) -> Iterator[tuple[int, Values]]:
    step = max(1, _READ // x.shape[1])
    for start in range(0, len(x), step):
        yield start, np.asarray(x[start : start + step], np.float64)


def _moments(x: NDArray[Any]) -> tuple[Values, float]:
    """Means of the columns, and the sum of their variances."""
    mean = sum(block.sum(0) for _, block in _blocks(x)) / len(x)
    total = sum(float(np.sum((block - mean) ** 2)) for _, block in _blocks(x)) / len(x)
    scale = max(float(np.abs(block).max()) for _, block in _blocks(x))
    return mean, total if total > (1e-12 * scale) ** 2 * x.shape[1] else 0.0


def _by_covariance(x: NDArray[Any], mean: Values, k: int) -> Values:
    covariance = sum((block - mean).T @ (block - mean) for _, block in _blocks(x))
    directions = np.linalg.eigh(covariance)[1][:, : -k - 1 : -1]
    return np.concatenate([(block - mean) @ directions for _, block in _blocks(x)])


def _by_gram(x: NDArray[Any], mean: Values, k: int) -> Values:
    centred = np.asarray(x, np.float64) - mean
    squares, u = np.linalg.eigh(centred @ centred.T)
    return u[:, : -k - 1 : -1] * np.sqrt(np.maximum(squares[: -k - 1 : -1], 0.0))


def _randomised(x: NDArray[Any], mean: Values, k: int, seed: int) -> Values:
    n, d = x.shape

    def forth(v: Values) -> Values:
        return np.concatenate([(block - mean) @ v for _, block in _blocks(x)])

    def back(u: Values) -> Values:
        found = np.zeros((d, u.shape[1]))
        for start, block in _blocks(x):
            found += (block - mean).T @ u[start : start + len(block)]
        return found

    basis = np.linalg.qr(forth(np.random.default_rng(seed).standard_normal((d, min(k + 10, n - 1, d)))))[0]
    for _ in range(6):
        basis = np.linalg.qr(forth(np.linalg.qr(back(basis))[0]))[0]
    _, singular, rotation = np.linalg.svd(back(basis), full_matrices=False)
    return (basis @ rotation[:k].T) * singular[:k]


# The interaction tensor ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureUse:
    """How a group of networks uses the features: counts in expectation over subsets of ``networks`` of them.

    Attributes
    ----------
    networks : int
        How many networks are counted, s; where the group has more, M, each subset of s counts alike.
    used : (T,) float64
        P(a network of the subset has the feature present on any example); 0 or 1 where s = M.
    frequency : (T,) float64
        F[t], examples on which any network of the subset has it.
    per_datum : (N,) float64
        D[n], features that any network of the subset has present on the example.
    """

    networks: int
    used: Values
    frequency: Values
    per_datum: Values

    @property
    def n_features(self) -> float:
        """|F|, features used: Σ_t used."""
        return float(self.used.sum())

    @property
    def mean_frequency(self) -> float:
        """Examples a used feature is present on, Σ_t F[t] / |F|: E[F]; of subsets, the ratio of their expectations.

        Raises
        ------
        UndefinedMetric
            No feature is used.
        """
        if not self.n_features:
            raise UndefinedMetric("the group uses no feature: there is no mean frequency")
        return float(self.frequency.sum()) / self.n_features

    @property
    def features_per_datum(self) -> float:
        """Mean of D over examples."""
        return float(self.per_datum.mean())

    def shared(self, other: "FeatureUse") -> float:
        """Features that both groups use: Σ_t used_t · used'_t.

        Raises
        ------
        ValueError
            Groups of two tensors, whose features are not the same.
        """
        if self.used.shape != other.used.shape:
            raise ValueError(
                f"one group is of a tensor of {len(self.used)} features, the other of {len(other.used)}: features are"
                " shared within one tensor"
            )
        return float(self.used @ other.used)


@dataclass(frozen=True)
class InteractionTensor:
    """Ω ∈ {0, 1}, networks × examples × features, kept as each network's few features and where they are present.

    Attributes
    ----------
    mode : "robust", "released" or "jiang"
    assignment : (M, k) int32
        The feature of each network's components; −1 where no other network has a component like it (robust).
    threshold : float
        γ, the |correlation| above which two components are one feature.
    quantile : float, optional
        Which quantile of the |correlation| γ is, where it is one.
    floor : float, optional
        What γ may not be below: the largest |correlation| of any two networks' components among images in permuted
        orders (robust).
    signs : (M, k) int8
        Which tail of a component's scores counts as presence.
    extremes : (M, k, N) int8
        1 and −1 where a score is far out, above and below.
    correlation : (M k, M k) float32
        Λ, of all components with all.
    skewness : (M, k) float64
        Third moments of the scores.
    """

    mode: Mode
    assignment: NDArray[np.int32]
    threshold: float
    quantile: float | None
    floor: float | None
    signs: NDArray[np.int8] = field(repr=False)
    extremes: NDArray[np.int8] = field(repr=False)
    correlation: NDArray[np.float32] = field(repr=False)
    skewness: Values = field(repr=False)

    @property
    def n_networks(self) -> int:
        """M."""
        return len(self.assignment)

    @property
    def n_features(self) -> int:
        """T, features that any network has."""
        return int(self.assignment.max()) + 1

    @property
    def n_unmatched(self) -> NDArray[np.intp]:
        """(M,): components of each network that no other network has."""
        return np.sum(self.assignment < 0, axis=1)

    @property
    def frequency(self) -> Values:
        """(T,): examples on which any network has the feature present."""
        return self.group(range(self.n_networks)).frequency

    @property
    def features_per_datum(self) -> Values:
        """(N,): features that any network has present on the example."""
        return self.group(range(self.n_networks)).per_datum

    def presence(self, network: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Ω of one network: its F features (numbers, ascending), and (F, N) where they are present.

        A feature is present where any of the network's components in it is.
        """
        own = self.assignment[network]
        order = np.argsort(own, kind="stable")[int(np.sum(own < 0)) :]
        features, starts = np.unique(own[order], return_index=True)
        present = self.extremes[network, order] == self.signs[network, order, None]
        return features.astype(np.intp), np.logical_or.reduceat(present, starts, axis=0) if len(order) else present

    def dense(self) -> NDArray[np.bool_]:
        """Ω as (M, N, T) bool: M·N·T bytes, most of them 0."""
        found = np.zeros((self.n_networks, self.extremes.shape[2], self.n_features), bool)
        for network in range(self.n_networks):
            features, present = self.presence(network)
            found[network, :, features] = present
        return found

    def group(self, networks: Sequence[int] | NDArray[np.intp], size: int | None = None) -> FeatureUse:
        """How these networks use the features; of ``size`` of them, in expectation over all such subsets.

        With a[n, t] of the group's M networks having t present on n, and b[t] having it anywhere,

            P(any of s has it) = 1 − C(M − a, s) / C(M, s)

        (rarefaction). Features stay those of all networks of the tensor: a component that only a network outside the
        subset shares counts too. Groups that are joined alone, `recluster`, count fewer the smaller they are, which no
        rarefaction undoes.

        Raises
        ------
        ValueError
            No network, a network twice or that is not there, a size outside 1 to M.
        """
        chosen = self._chosen(networks, 1)
        m = len(chosen)
        s = m if size is None else size
        if not isinstance(s, Integral) or not 1 <= s <= m:
            raise ValueError(f"size is {s!r}: of {m} networks subsets have 1 to {m}")
        n = self.extremes.shape[2]
        at, anywhere = np.zeros((self.n_features, n), np.int16), np.zeros(self.n_features, np.intp)
        for network in chosen:
            features, present = self.presence(network)
            at[features] += present
            anywhere[features] += present.any(1)
        reached = _any_of(m, s)
        frequency, per_datum = np.zeros(self.n_features), np.zeros(n)
        for t, row in enumerate(at):
            probability = reached[row]
            frequency[t] = probability.sum()
            per_datum += probability
        return FeatureUse(s, reached[anywhere], frequency, per_datum)

    def by_group(self, groups: ArrayLike) -> dict[Any, FeatureUse]:
        """How each group uses the features, counted over as many networks as the smallest group has.

        Parameters
        ----------
        groups : (M,)
            The group of each network: arms, architectures.

        Raises
        ------
        ValueError
            A number of labels that is not M; groups of unequal size where the mode is not "robust", whose counts grow
            with the number of networks.
        """
        members = self._members(groups)
        sizes = {name: len(networks) for name, networks in members.items()}
        if self.mode != "robust" and len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(
                f"groups have {listed} networks: the more networks, the more features, and mode {self.mode!r} does not"
                ' allow for it. Take groups of one size, or mode "robust"'
            )
        return {name: self.group(networks, min(sizes.values())) for name, networks in members.items()}

    def _members(self, groups: ArrayLike) -> dict[Any, NDArray[np.intp]]:
        labels = np.asarray(groups)
        if labels.shape != (self.n_networks,):
            raise ValueError(f"groups has shape {labels.shape}: one label for each of {self.n_networks} networks")
        return {name: np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist())}

    def _chosen(self, networks: Sequence[int] | NDArray[np.intp], least: int) -> NDArray[np.intp]:
        found = np.asarray(networks)
        m = self.n_networks
        whole = found.ndim == 1 and len(found) >= least and found.dtype.kind in "iu"
        if not whole or len(np.unique(found)) < len(found) or not np.all((found >= 0) & (found < m)):
            words = {1: "one", 2: "two"}[least]
            raise ValueError(f"networks are {words} or more different numbers from 0 to {m - 1}")
        return found.astype(np.intp)

    def recluster(
        self, networks: Sequence[int] | NDArray[np.intp] | None = None, *, threshold: float | None = None
    ) -> "InteractionTensor":
        """The tensor of some of the networks, in this order, or at another threshold.

        γ is the threshold given; else what it was, or, where it was a quantile, that quantile of these networks.

        Raises
        ------
        ValueError
            Fewer than two networks, or a network twice; a threshold outside [0, 1].
        """
        m, k = self.assignment.shape
        chosen = self._chosen(range(m) if networks is None else networks, 2)
        columns = (chosen[:, None] * k + np.arange(k)).ravel()
        correlation = self.correlation[np.ix_(columns, columns)]
        quantile = self.quantile if threshold is None else None
        if quantile is not None:
            gamma = max(_quantile(correlation, k, quantile, self.mode), self.floor or 0.0)
        else:
            gamma = self.threshold if threshold is None else _checked_threshold(threshold)
        skewness = self.skewness[chosen]
        assignment, signs = _assigned(correlation, skewness, gamma, self.mode)
        return InteractionTensor(
            self.mode, assignment, gamma, quantile, self.floor, signs, self.extremes[chosen], correlation, skewness
        )

    def to_frame(self, groups: ArrayLike | None = None) -> "pd.DataFrame":
        """A row a feature and group: feature, group, n_networks (of the group, that have it), frequency.

        Counted over all networks of each group, as they are. Without groups there is one, "all".
        """
        import pandas as pd

        rows = []
        labels = np.full(self.n_networks, "all") if groups is None else groups
        for name, networks in self._members(labels).items():
            have = np.zeros(self.n_features, np.intp)
            for network in networks:
                have[self.presence(network)[0]] += 1
            columns = {"n_networks": have, "frequency": self.group(networks).frequency}
            rows.append(pd.DataFrame({"feature": np.arange(self.n_features), "group": name, **columns}))
        return pd.concat(rows, ignore_index=True)


QUANTILES: dict[Mode, float] = {"released": 0.99, "jiang": 0.90}
ALIKE = 0.5  # |correlation| from which on two components are one feature (robust)


def interaction_tensor(
    activations: Sequence[ArrayLike],
    *,
    k: int | None = 50,
    mode: Mode = "robust",
    quantile: float | None = None,
    threshold: float | None = None,
    null_draws: int = 19,
    seed: int = 0,
) -> InteractionTensor:
    """Which features networks share, and on which examples each has them present.

    Of each network the ``k`` leading principal components, standardised (`principal_components`): z. Then

        Λ[mi, pj] = mean_n z_mi[n] z_pj[n]

    in ``robust`` of the ranks of z, so that no example counts for more than others. Components with |Λ| > γ are one
    feature, by greedy clustering; a component is present on an example where its score is far out, and a feature where
    any component of it is.

    =============  ==============================  ====================================  =============================
    mode           γ                               clusters                              present
    =============  ==============================  ====================================  =============================
    ``released``   .99 of all |Λ|                  in the given order each component     z / max|z| above the network's
                                                   without one opens a cluster; those    own .9 quantile, signs as they
                                                   above γ join the last that they meet  fell
                                                   (similarities are kept as integers)
    ``jiang``      .90 of all |Λ|                  the same, but they join the most      the same
                                                   similar
    ``robust``     .5, and at least what networks  those with the most in common with    ±z above the network's own .8
                   have in common by chance        other networks open first; others     quantile of |z|; the sign is
                                                   join the most similar; what no other  the opener's, which points to
                                                   network has is left out               the longer tail
    =============  ==============================  ====================================  =============================

    A quantile rises with the share of components that match: where many do, the strongest hundredth alone would
    count. So γ of ``robust`` says what it means, a quarter of the variance in common, and is the same for all groups.
    But for ties, and for the draws of the floor where it is γ, the mode does not depend on the order of the networks,
    nor on the signs of components, and it finds nothing in noise.
    Chance is the largest |Λ| between networks after each network's examples were put into an order of their own, over
    ``null_draws`` such: noise exceeds it with probability 1 / (null_draws + 1) at most.

    Parameters
    ----------
    activations : M ≥ 2 arrays (N, D_m), of one layer of each network on the same examples
    k : components of each; None takes the columns as components as they are, all networks having as many
    mode : see above
    quantile : in (0, 1), of |Λ|, instead of the mode's γ; for ``robust`` of the |Λ| between networks
    threshold : γ itself, in [0, 1], instead of a quantile
    null_draws, seed : of the floor of ``robust``; the seed also of randomised components

    Returns
    -------
    InteractionTensor

    Raises
    ------
    ValueError
        One network; different N; fewer dimensions than k; constant activations; values that are not finite.

    Notes
    -----
    A network has its components present on a tenth of the examples on average by construction, in ``robust`` on more
    where their longer tail is heavy: features per datum say how far networks overlap, not how many features one uses.

    How many features a network has depends on those it is joined with. Compare groups that were joined among
    themselves, or with each other alone (`recluster`), and are equally large.

    ``released`` keeps similarities in an array of integers, so that every one becomes 0 and the last cluster wins; its
    paper says the most similar one.

    References
    ----------
    Kang & Kim, arXiv 2606.03052, and the code released with it. Jiang, Baek & Kolter, arXiv 2306.04793.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = rng.exponential(size=(500, 6))  # the world has six
    >>> seen = [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]]  # each network sees four, one of them alone
    >>> networks = [features[:, i] * [4, 3, 2, 1] for i in seen]
    >>> tensor = interaction_tensor(networks, k=4)
    >>> tensor.n_features, tensor.n_unmatched.tolist()
    (3, [1, 1, 1])
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}: it is one of {', '.join(get_args(Mode))}")
    if threshold is not None and quantile is not None:
        raise ValueError(f"threshold {threshold} and quantile {quantile} both say what γ is: give one")
    q = quantile if quantile is not None or threshold is not None else QUANTILES.get(mode)
    if q is not None and not 0 < q < 1:
        raise ValueError(f"quantile is {q}: it lies between 0 and 1")
    scores = _scores(activations, k, seed)
    m, components, n = scores.shape
    flat = scores.reshape(m * components, n)
    if mode == "robust":
        flat = _ranked(flat)
    correlation = np.clip(flat @ flat.T / np.float32(n), -1, 1)
    if q is None:
        gamma = _checked_threshold(ALIKE if threshold is None else threshold)
    else:
        gamma = _quantile(correlation, components, q, mode)
    floor = None
    if mode == "robust":
        floor = chance_floor(flat.reshape(scores.shape), null_draws, seed)
        gamma = max(gamma, floor)
    skewness = np.mean(scores.astype(np.float64) ** 3, axis=2)
    assignment, signs = _assigned(correlation, skewness, gamma, mode)
    extremes = np.stack([_extremes(own, mode) for own in scores])
    return InteractionTensor(mode, assignment, gamma, q, floor, signs, extremes, correlation, skewness)


def chance_floor(scores: ArrayLike, draws: int = 19, seed: int = 0) -> float:
    """The largest |correlation| between components of two networks, when each has its examples in an order of its own.

    Parameters
    ----------
    scores : (M, k, N), standardised
    draws : orders, independent of each other

    Returns
    -------
    float
        The largest over all draws: as components of different networks that have nothing to do with each other are
        exchangeable with their permuted selves, their largest |correlation| exceeds it with probability
        1 / (draws + 1) at most.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((2, 3, 400)).astype(np.float32)
    >>> 0.05 < chance_floor(z) < 0.25
    True
    """
    if not isinstance(draws, Integral) or draws < 1:
        raise ValueError(f"null_draws is {draws!r}: a whole number, one or more")
    z = np.asarray(scores, np.float32)
    m, k, n = z.shape
    if m < 2:
        raise ValueError("one network has nothing in common with others: two or more are needed")
    generator = np.random.default_rng(seed)
    largest, shuffled = 0.0, np.empty((m * k, n), np.float32)
    for _ in range(draws):
        for i, own in enumerate(z):
            np.take(own, generator.permutation(n), axis=1, out=shuffled[i * k : (i + 1) * k])
        for start in range(0, (m - 1) * k, k):
            products = shuffled[start : start + k] @ shuffled[start + k :].T
            largest = max(largest, float(products.max()), -float(products.min()))
    return largest / n


def _scores(activations: Sequence[ArrayLike], k: int | None, seed: int) -> Scores:
    """(M, k, N), standardised."""
    if not isinstance(activations, Sequence | np.ndarray):
        raise ValueError(f"activations are a list of arrays, one a network, not {type(activations).__name__}")
    networks = [np.asanyarray(x) for x in activations]
    if len(networks) < 2:
        raise ValueError(
            f"activations are those of {len(networks)} network: features are what networks share, so two or more are"
            " needed"
        )
    if flat := [i for i, x in enumerate(networks) if x.ndim != 2]:
        shape = networks[flat[0]].shape
        raise ValueError(f"network {flat[0]}: activations are real numbers of shape (N, D), not of shape {shape}")
    lengths = [len(x) for x in networks]
    if len(set(lengths)) > 1:
        other = next(i for i, n in enumerate(lengths) if n != lengths[0])
        raise ValueError(
            f"network 0 has {lengths[0]} examples, network {other} has {lengths[other]}: all need the same, in one"
            " order"
        )
    found = []
    for i, x in enumerate(networks):
        try:
            found.append((_as_they_are(x) if k is None else principal_components(x, k, seed=seed)).T)
        except ValueError as error:
            raise ValueError(f"network {i}: {error}") from None
        if len(found[i]) != len(found[0]):
            raise ValueError(f"network 0 has {len(found[0])} columns, network {i} has {len(found[i])}: give k")
    return np.stack(found)


def _as_they_are(activations: ArrayLike) -> Scores:
    x = _checked(activations, "activations").astype(np.float64)
    z = x - x.mean(0)
    spread = z.std(0)
    if not (spread > 1e-12 * np.abs(x).max(0)).all():
        raise ValueError(f"column {int(np.argmin(spread))} is constant")
    return (z / spread).astype(np.float32)


def _ranked(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows by rank, standardised: one image far out, in many networks, would else be a feature and the floor."""
    found = np.empty_like(flat)
    for row, scores in zip(found, flat, strict=True):
        _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share the mean of theirs
        row[:] = (ranks - ranks.mean()) / ranks.std()
    return found


def _checked_threshold(threshold: float) -> float:
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}: a |correlation|, from 0 to 1")
    return float(threshold)


def _quantile(correlation: NDArray[np.float32], k: int, q: float, mode: Mode) -> float:
    sizes = np.abs(correlation)
    if mode == "robust":
        network = np.arange(len(sizes)) // k
        sizes = sizes[network[:, None] != network]
    return float(np.quantile(sizes, q))


def _assigned(
    correlation: NDArray[np.float32], skewness: Values, threshold: float, mode: Mode
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Each component's cluster, and the sign in which its scores are counted; (M, k) both."""
    m, k = skewness.shape
    sizes = np.abs(correlation)
    if mode != "robust":
        clusters, _ = _greedy(sizes, np.arange(m * k), threshold, whole=mode == "released")
        return clusters.reshape(m, k), np.ones((m, k), np.int8)
    network = np.arange(m * k) // k
    common = np.where((sizes > threshold) & (network[:, None] != network), sizes, 0.0).sum(1, dtype=np.float64)
    clusters, openers = _greedy(sizes, np.argsort(-common, kind="stable"), threshold)
    signs = np.sign(correlation[openers[clusters], np.arange(m * k)])
    tails = np.bincount(clusters, signs * skewness.ravel())
    signs *= np.where(tails < 0, -1, 1)[clusters]
    networks = np.bincount(np.unique(clusters.astype(np.intp) * m + network) // m)
    shared = networks >= 2
    renumbered = np.where(shared, np.cumsum(shared) - 1, -1)
    return renumbered[clusters].astype(np.int32).reshape(m, k), signs.astype(np.int8).reshape(m, k)


def _greedy(
    sizes: NDArray[np.float32], order: NDArray[np.intp], threshold: float, whole: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Clusters by the component that opens them, and the openers.

    In the given order a component without a cluster opens one; it takes all that are more like it than the threshold
    and than their best so far, which is remembered, ``whole`` as an integer.
    """
    clusters = np.full(len(sizes), -1, np.int32)
    least = np.full(len(sizes), threshold, np.float32)  # what a component must be like a new opener, to leave its own
    lowest = np.float32(threshold)
    openers: list[int] = []
    for i in order.tolist():
        if clusters[i] < 0:
            like = sizes[i]
            joins = (like > least).nonzero()[0]
            clusters[joins] = len(openers)
            clusters[i] = len(openers)
            least[joins] = np.maximum(np.trunc(like[joins]), lowest) if whole else like[joins]
            openers.append(i)
    return clusters, np.array(openers, np.intp)


def _extremes(scores: Scores, mode: Mode) -> NDArray[np.int8]:
    """Where the scores (k, N) of a network are far out."""
    if mode == "robust":
        far = np.quantile(np.abs(scores), 2 * SHARE - 1)
        return (scores > far).astype(np.int8) - (scores < -far).astype(np.int8)
    scaled = scores / np.abs(scores).max(1, keepdims=True)
    return (scaled > np.quantile(scaled, SHARE)).astype(np.int8)


def _any_of(m: int, s: int) -> Values:
    """P(any of s drawn of m is among a), for a from 0 to m."""
    none = np.cumprod(np.array([1.0, *((m - s - a) / (m - a) for a in range(m))]))
    return np.asarray(1.0 - none)


# Other views of representations ----------------------------------------------------------------------------------


def linear_cka(x: ArrayLike, y: ArrayLike, *, batch: int | None = 256, seed: int | None = 0) -> float:
    """Linear centred kernel alignment of two representations of the same examples.

    With K = XXᵀ and L = YYᵀ without their diagonals, over n examples of a batch,

        HSIC₁ = [tr(KL) + (1ᵀK1)(1ᵀL1) / ((n − 1)(n − 2)) − 2 / (n − 2) · 1ᵀKL1] / (n (n − 3))
        CKA = Σ HSIC₁(K, L) / √(Σ HSIC₁(K, K) · Σ HSIC₁(L, L))

    sums over batches. HSIC₁ is unbiased, so unrelated representations have 0 on average however wide they are.

    Parameters
    ----------
    x, y : (N, D), (N, D')
    batch : examples, what is left over joining the last; None takes all as one
    seed : of the order in which examples come into batches, a file may be sorted by class; None takes the given one

    Returns
    -------
    float
        1 for representations that differ by rotation, scale and shift; about 0, also below, for unrelated ones.

    Raises
    ------
    ValueError
        Different N, fewer than four examples in a batch.
    UndefinedMetric
        A representation that does not vary within batches.

    References
    ----------
    Kornblith et al. 2019, arXiv 1905.00414. Nguyen, Raghu & Kornblith 2021, arXiv 2010.15327, eq. 2 and 3.
    Song et al. (2012), J. Mach. Learn. Res. 13:1393 (the unbiased estimator).

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((512, 4))
    >>> round(linear_cka(x, 3.0 * x[:, ::-1] + 7.0), 6)
    1.0
    """
    a, b = _checked(x, "activations x"), _checked(y, "activations y")
    n = len(a)
    if len(b) != n:
        raise ValueError(f"x has {n} examples, y has {len(b)}: both need the same, in one order")
    if batch is not None and not isinstance(batch, Integral):
        raise ValueError(f"batch is {batch!r}: a whole number of examples, or None")
    size = n if batch is None else min(batch, n)
    if size < 4:
        raise ValueError(f"{size} examples in a batch: the unbiased estimator needs four or more")
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    starts = list(range(0, n - size + 1, size))
    total = np.zeros(3)
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        rows = np.sort(order[start:stop])
        k, own = _gram(a[rows])
        m, other = _gram(b[rows])
        total += [_hsic(k, m), own * _hsic(k, k), other * _hsic(m, m)]
    if not (total[1] > 0 and total[2] > 0):
        which = "x" if not total[1] > 0 else "y"
        raise UndefinedMetric(f"{which} does not vary within batches: its alignment with anything is 0/0")
    return float(total[0] / np.sqrt(total[1] * total[2]))


def _gram(x: NDArray[Any]) -> tuple[Values, bool]:
    """Inner products of centred rows, diagonal 0, and whether the rows vary."""
    rows = np.asarray(x, np.float64)
    centred = rows - rows.mean(0)
    varies = bool(np.abs(centred).max() > 1e-12 * np.abs(rows).max())
    products = centred @ centred.T
    np.fill_diagonal(products, 0.0)
    return products, varies


def _hsic(k: Values, m: Values) -> float:
    n = len(k)
    one, other = k.sum(0), m.sum(0)
    value = np.sum(k * m) + one.sum() * other.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ other)
    return float(value / (n * (n - 3)))


@dataclass(frozen=True)
class DisagreementEquality:
    """Whether networks of one recipe disagree as often as they err.

    Attributes
    ----------
    error : mean test error of the networks
    disagreement : of two networks drawn with replacement, how often they differ, 1 − mean Σ_c h_c²
    disagreement_of_pairs : of two different networks; what is usually reported, M / (M − 1) times as much
    calibration_error : class-aggregated, of the networks' votes
    """

    error: float
    disagreement: float
    disagreement_of_pairs: float
    calibration_error: float

    @property
    def gap(self) -> float:
        """disagreement − error; at most ``calibration_error`` in size."""
        return self.disagreement - self.error


def disagreement_equality(predictions: ArrayLike, labels: ArrayLike) -> DisagreementEquality:
    """Generalisation disagreement equality: disagreement, error, and the calibration error that bounds their gap.

    With h_c[n] the share of M networks that predict class c on example n,

        CACE = Σ_q |Σ_c P(y = c, h_c = q) − q Σ_c P(h_c = q)|,  q = 0, 1/M, …, 1
        |disagreement − error| ≤ CACE

    for these networks on these examples, exactly; networks that are drawn anew and examples of the same distribution
    are another question.

    Parameters
    ----------
    predictions : (M, N) integers, classes; M ≥ 2
    labels : (N,) integers

    Returns
    -------
    DisagreementEquality

    Raises
    ------
    ValueError
        One network, other shapes, classes below 0.

    References
    ----------
    Jiang, Nagarajan, Baek & Kolter 2022, arXiv 2106.13799, definition 4.3 and theorem 4.2.

    Examples
    --------
    >>> found = disagreement_equality([[0, 1, 1, 0], [0, 1, 0, 1]], [0, 1, 1, 1])
    >>> found.error, found.disagreement, found.disagreement_of_pairs, found.calibration_error
    (0.25, 0.25, 0.5, 0.0)
    """
    said, y = np.asarray(predictions), np.asarray(labels)
    if said.ndim != 2 or y.shape != said.shape[1:] or said.dtype.kind not in "iu" or y.dtype.kind not in "iu":
        raise ValueError(
            f"predictions are classes (M, N) and labels (N,), not {said.dtype} {said.shape} and {y.dtype} {y.shape}"
        )
    m, n = said.shape
    if m < 2 or n < 1:
        raise ValueError(f"predictions has shape {said.shape}: two networks or more, one example or more")
    if min(said.min(), y.min()) < 0:
        raise ValueError("a class is below 0")
    classes = int(max(said.max(), y.max())) + 1
    votes = np.zeros((n, classes), np.intp)
    for own in said:
        votes[np.arange(n), own] += 1
    correct = votes[np.arange(n), y]
    disagreement = 1.0 - float(np.mean(np.sum(votes**2, axis=1))) / m**2
    of_label = np.bincount(correct, minlength=m + 1) / n
    of_all = np.bincount(votes.ravel(), minlength=m + 1) / n
    error = 1.0 - float(correct.mean()) / m
    cace = float(np.abs(of_label - np.arange(m + 1) / m * of_all).sum())
    return DisagreementEquality(error, disagreement, disagreement * m / (m - 1), cace)
