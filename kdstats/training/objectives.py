"""The loss of every arm: a pure function of student logits, target, labels. alpha is the teacher term's weight.

All are called as ``NAME(student_logits, target, labels, **parameters)`` and return a scalar. Logits are (b, C); labels
(b,) int64 classes, or (b, C) probabilities where the recipe smooths them, whose largest is then the true class. A
target is the teacher's logits (b, C), or with ``target_is="probabilities"`` its probabilities, which stand for their
logarithms: the same loss as from the logits that they came from, except in ``ats``, as is said there. Cross-entropy has
weight 1 unless alpha or weight mixes it. The feature objectives at the end take maps in place of the target.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

TargetIs = Literal["logits", "probabilities"]


def ce(student_logits: Tensor, target: Tensor | None, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels, −mean_i log softmax(z_i)[y_i]; the target is not used.

    Examples
    --------
    >>> round(ce(torch.zeros(2, 4), None, torch.tensor([0, 3])).item(), 6)  # log 4
    1.386294
    """
    return F.cross_entropy(student_logits, labels)


def kd(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.5,
    temperature: float = 4.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """(1 − α)·CE(y, p_s) + α·T²·mean_i KL(p_t^T ‖ p_s^T), with p^T = softmax(z / T).

    Parameters
    ----------
    student_logits : (b, C)
    target : (b, C), the teacher's logits, or its probabilities p_t, tempered as p_t^(1/T) renormalised: the same
        loss as from the logits that they came from
    labels : (b,) int64
    alpha : weight of the teacher term, 0 to 1. Much code has the opposite convention.
    temperature : T > 0, on both sides; T² keeps the gradient's scale (Hinton, Vinyals, Dean 2015, section 2.1)

    Returns
    -------
    scalar: the KL is summed over classes and averaged over samples (not over b·C elements).

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> kd(z, z, torch.tensor([0, 1]), alpha=1.0).item()
    0.0
    """
    soft = _divergence(student_logits, _logits(target, target_is), temperature)
    return (1 - alpha) * F.cross_entropy(student_logits, labels) + alpha * temperature**2 * soft


def _divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """mean_i KL(softmax(z_t / T) ‖ softmax(z_s / T)): the sum over classes, the mean over samples."""
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    student = F.log_softmax(student_logits / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _logits(target: Tensor, target_is: TargetIs) -> Tensor:
    if target_is == "logits":
        return target
    return target.clamp_min(torch.finfo(target.dtype).tiny).log()


def _classes(labels: Tensor) -> Tensor:
    """The true class of each example, (b,)."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def dkd(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    tckd: float = 1.0,
    nckd: float = 8.0,
    temperature: float = 4.0,
    warmup: float = 1.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + warmup·T²·(tckd·TCKD + nckd·NCKD), means over samples.

    TCKD is the KL of the pairs (p_y, 1 − p_y), NCKD that of the softmaxes over the wrong logits alone, all tempered, so
    that KL(p_t ‖ p_s) = TCKD + (1 − p_ty)·NCKD. ``warmup`` is the present factor, which grows to 1 over the first
    epochs.

    Zhao, Cui, Song, Qiu, Liang 2022, arXiv 2203.08679.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0, 2.0]])
    >>> dkd(z, z, torch.tensor([0])).item() == ce(z, None, torch.tensor([0])).item()
    True
    """
    y = _classes(labels)[:, None]
    ranks = torch.arange(student_logits.shape[1] - 1, device=y.device)
    others = ranks + (ranks >= y)  # (b, C - 1), the wrong classes
    logits = _logits(target, target_is), student_logits
    teacher, student = (F.log_softmax(z / temperature, dim=1) for z in logits)
    t_y, s_y = (log_p.gather(1, y) for log_p in (teacher, student))
    t_wrong, s_wrong = (log_p.gather(1, others) for log_p in (teacher, student))
    t_rest, s_rest = (log_p.logsumexp(1, keepdim=True) for log_p in (t_wrong, s_wrong))  # log(1 − p_y)
    of_target = (t_y.exp() * (t_y - s_y) + t_rest.exp() * (t_rest - s_rest)).mean()
    of_others = F.kl_div(s_wrong - s_rest, t_wrong - t_rest, reduction="batchmean", log_target=True)
    soft = temperature**2 * (tckd * of_target + nckd * of_others)
    return F.cross_entropy(student_logits, labels) + warmup * soft


def dist(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + β·(1 − mean_i ρ(p_si, p_ti)) + γ·(1 − mean_k ρ(p_s·k, p_t·k)), Pearson's ρ over rows and over columns.

    Rows are samples (relations of classes), columns classes (relations of samples in the batch); probabilities are
    tempered on both sides, without a factor T². As in the authors' code ρ = x·y / (‖x‖ ‖y‖ + 1e-8) of what is centred,
    so that a row or column without spread, of a network that is very sure or gives a class to no image, has ρ = 0 and
    no gradient; at temperatures so high that ‖x‖ ‖y‖ comes near 1e-8 the loss fades.

    Huang, You, Wang, Qian, Xu 2022, arXiv 2205.10536.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    >>> y = torch.tensor([0, 1])
    >>> bool(torch.isclose(dist(z, z, y), ce(z, None, y)))
    True
    """
    teacher = F.softmax(_logits(target, target_is) / temperature, dim=1)
    student = F.softmax(student_logits / temperature, dim=1)
    rows, columns = (1 - _pearson(student, teacher, dim).mean() for dim in (1, 0))
    return F.cross_entropy(student_logits, labels) + beta * rows + gamma * columns


def _pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim) + 1e-8)


def ats(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.5,
    tau_true: float = 4.0,
    tau_wrong: float = 2.0,
    temperature: float = 1.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """(1 − w)·CE + w·s²·CE(p, softmax(z_s / s)), p_c ∝ exp(z_tc / τ_c): asymmetric temperature scaling.

    τ_c is ``tau_true`` for the *true* class, also where the teacher is wrong, and ``tau_wrong``, the smaller, for the
    others: wrong classes keep their distinctness. ``temperature`` is the student's, s. The soft term is a
    cross-entropy. Two temperatures make p depend on a constant added to all logits; from probabilities it is that whose
    logits sum, exponentiated, to 1.

    Li et al. 2022, arXiv 2210.04427.

    Examples
    --------
    >>> round(ats(torch.zeros(1, 2), torch.tensor([[4.0, 2.0]]), torch.tensor([0])).item(), 6)  # p = (.5, .5); log 2
    0.693147
    """
    y = _classes(labels)[:, None]
    z = _logits(target, target_is)
    scaled = torch.scatter(z / tau_wrong, 1, y, z.gather(1, y) / tau_true)
    soft = F.cross_entropy(student_logits / temperature, F.softmax(scaled, dim=1))
    return (1 - weight) * F.cross_entropy(student_logits, labels) + weight * temperature**2 * soft


def logit_std(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    weight: float = 9.0,
    temperature: float = 2.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + w·T²·mean_i KL of the tempered softmaxes of standardised logits, z ← (z − mean) / (1e-7 + std), ddof 1.

    Sun, Ren, Li, Wang, Cao 2024, arXiv 2403.01427.

    Examples
    --------
    >>> z, y = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([0])
    >>> bool(torch.isclose(logit_std(z, 5 * z + 3, y), ce(z, None, y), atol=1e-5))  # scale and shift do not matter
    True
    """
    soft = _divergence(_standardised(student_logits), _standardised(_logits(target, target_is)), temperature)
    return F.cross_entropy(student_logits, labels) + weight * temperature**2 * soft


def _standardised(z: Tensor) -> Tensor:
    return (z - z.mean(1, keepdim=True)) / (1e-7 + z.std(1, keepdim=True))


def ttm(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    beta: float = 45.0,
    temperature: float = 10.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + β·mean_i KL(p_t^γ / U ‖ p_s), γ = 1/T, U = Σ_c p_tc^γ: the teacher alone is tempered, and there is no T².

    Zheng & Yang 2024, arXiv 2402.11148; the defaults are the example of their code.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0, 2.0]])
    >>> bool(torch.isclose(ttm(z / 10, z, torch.tensor([0])), ce(z / 10, None, torch.tensor([0])), atol=1e-5))
    True
    """
    divergence, _ = _power_transformed(student_logits, _logits(target, target_is), temperature)
    return F.cross_entropy(student_logits, labels) + beta * divergence.mean()


def wttm(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    beta: float = 4.0,
    temperature: float = 5.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + β·mean_i U_i·KL(p_t^γ / U ‖ p_s): ``ttm`` whose samples weigh U = Σ_c p_tc^γ, the smoother the more.

    Zheng & Yang 2024, arXiv 2402.11148; the defaults are an example of their code, with CRD beside it.

    Examples
    --------
    >>> z, y = torch.zeros(1, 4), torch.tensor([0])  # U = 4·(1/4)^(1/2) = 2
    >>> teacher = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    >>> bool(torch.isclose(wttm(z, teacher, y, temperature=2), ce(z, None, y)))
    True
    """
    divergence, power_sum = _power_transformed(student_logits, _logits(target, target_is), temperature)
    return F.cross_entropy(student_logits, labels) + beta * (power_sum * divergence).mean()


def _power_transformed(student_logits: Tensor, z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(p_t^γ / U ‖ p_s) and U of each sample, (b,) each."""
    teacher = F.log_softmax(z / temperature, dim=1)
    power_sum = (F.log_softmax(z, dim=1) / temperature).logsumexp(1).exp()
    student = F.log_softmax(student_logits, dim=1)
    return F.kl_div(student, teacher, reduction="none", log_target=True).sum(1), power_sum


def tf_kd_self(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.95,
    temperature: float = 20.0,
    multiplier: float = 1.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """(1 − α)·CE + α·multiplier·T²·mean KL(p_t^T ‖ p_s^T), the mean over samples *and* classes: ``kd``'s divided by C.

    The target is the student's own twin, trained before by labels alone. Yuan, Tay, Li, Wang, Feng 2020,
    arXiv 1909.11723; the division by classes and the defaults are their code's.

    Examples
    --------
    >>> s, t, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([0])
    >>> 2 * tf_kd_self(s, t, y, alpha=1.0).item() == kd(s, t, y, alpha=1.0, temperature=20).item()
    True
    """
    soft = _divergence(student_logits, _logits(target, target_is), temperature) / student_logits.shape[1]
    return (1 - alpha) * F.cross_entropy(student_logits, labels) + alpha * multiplier * temperature**2 * soft


def tf_kd_reg(
    student_logits: Tensor,
    target: Tensor | None,
    labels: Tensor,
    *,
    alpha: float = 0.1,
    temperature: float = 20.0,
    multiplier: float = 100.0,
) -> Tensor:
    """(1 − α)·CE + α·multiplier·mean KL(softmax(u / T) ‖ p_s), the mean over samples *and* classes; without a teacher.

    u is a virtual teacher's distribution, .99 on the true class and the rest spread evenly. As in the authors' code
    the probabilities u themselves are tempered, the student is not, and there is no T². The target is not used.

    Yuan, Tay, Li, Wang, Feng 2020, arXiv 1909.11723; the defaults are their ResNet-18's.

    Examples
    --------
    >>> z, y = torch.tensor([[0.0, 0.0]]), torch.tensor([1])
    >>> round(tf_kd_reg(z, None, y, alpha=0.0).item(), 6)  # log 2
    0.693147
    """
    classes = student_logits.shape[1]
    virtual = torch.full_like(student_logits, 0.01 / (classes - 1)).scatter(1, _classes(labels)[:, None], 0.99)
    teacher, student = F.log_softmax(virtual / temperature, dim=1), F.log_softmax(student_logits, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True) / classes
    return (1 - alpha) * F.cross_entropy(student_logits, labels) + alpha * multiplier * divergence


def cwtm(student_logits: Tensor, target: Tensor, labels: Tensor, *, target_is: TargetIs = "logits") -> Tensor:
    """Σ_i w_i·CE_i, w_i = max_c p_tic / Σ_j max_c p_tjc: labels alone, weighted by the teacher's confidence.

    Furlanello, Lipton, Tschannen, Itti, Anandkumar 2018, arXiv 1805.04770 (confidence-weighted by teacher max).

    Examples
    --------
    >>> z, y = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    >>> same = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # a teacher equally sure of both
    >>> bool(torch.isclose(cwtm(z, same, y), ce(z, None, y)))
    True
    """
    sure = F.softmax(_logits(target, target_is), dim=1).amax(1)
    return (sure / sure.sum() * F.cross_entropy(student_logits, labels, reduction="none")).sum()


def cs_kd(
    student_logits: Tensor,
    target: Tensor,
    labels: Tensor,
    *,
    weight: float = 1.0,
    temperature: float = 4.0,
    target_is: TargetIs = "logits",
) -> Tensor:
    """CE + w·T²·mean_i KL(q^T ‖ p_s^T), q the network's own prediction of another image of the same class.

    Yun, Park, Lee, Shin 2020, arXiv 2003.13964. The authors draw a batch of half the size and its
    partners; here every image of the batch has a partner.

    Examples
    --------
    >>> z, y = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    >>> cs_kd(z, z, y).item() == ce(z, None, y).item()
    True
    """
    soft = _divergence(student_logits, _logits(target, target_is), temperature)
    return F.cross_entropy(student_logits, labels) + weight * temperature**2 * soft


OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "ce": ce,
    "kd": kd,
    "dkd": dkd,
    "dist": dist,
    "ats": ats,
    "logit_std": logit_std,
    "ttm": ttm,
    "wttm": wttm,
    "tf_kd_self": tf_kd_self,
    "tf_kd_reg": tf_kd_reg,
    "cwtm": cwtm,
    "cs_kd": cs_kd,
}


# Feature maps ----------------------------------------------------------------------------------------------------


def fitnet(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Σ over layers of mean (f_s − f_t)², the mean over all elements; the student's maps have been regressed before.

    Romero et al. 2015, arXiv 1412.6550, as trained jointly with CE since.

    Parameters
    ----------
    student_maps, teacher_maps : (b, channels, height, width) each, of equal shapes layer by layer

    Examples
    --------
    >>> fitnet([torch.ones(1, 2, 2, 2)], [torch.zeros(1, 2, 2, 2)]).item()
    1.0
    """
    return torch.stack([F.mse_loss(s, t) for s, t in zip(student_maps, teacher_maps, strict=True)]).sum()


def attention_transfer(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Σ over layers of mean (Q_s − Q_t)², Q = the mean over channels of f², flattened and divided by its norm.

    Zagoruyko & Komodakis 2017, arXiv 1612.03928, with p = 2, as a mean of squares.

    Parameters
    ----------
    student_maps, teacher_maps : (b, channels, height, width) each, of equal height and width layer by layer

    Examples
    --------
    >>> f = torch.rand(2, 3, 4, 4)
    >>> attention_transfer([2 * f], [f]).item() < 1e-12  # the scale of a map does not matter
    True
    """
    pairs = zip(student_maps, teacher_maps, strict=True)
    return torch.stack([(_attention(s) - _attention(t)).square().mean() for s, t in pairs]).sum()


def _attention(maps: Tensor) -> Tensor:
    return F.normalize(maps.square().mean(1).flatten(1))


FEATURE_OBJECTIVES: dict[str, Callable[..., Tensor]] = {"fitnet": fitnet, "attention_transfer": attention_transfer}
