"""The loss of every arm: a pure function of student logits, target, labels. alpha is the teacher term's weight."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


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
    target_is: Literal["logits", "probabilities"] = "logits",
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
    log_target = target.clamp_min(torch.finfo(target.dtype).tiny).log() if target_is == "probabilities" else target
    teacher = F.log_softmax(log_target / temperature, dim=1)
    student = F.log_softmax(student_logits / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - alpha) * F.cross_entropy(student_logits, labels) + alpha * temperature**2 * divergence


OBJECTIVES: dict[str, Callable[..., Tensor]] = {"ce": ce, "kd": kd}
