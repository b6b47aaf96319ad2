"""Losses of labels that are classes, made from F*."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovpnet.spec.choices import Loss, Noise, loss
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.spec.config import Config


@dataclass
class _Classification(Loss):
    """A loss whose labels are classes, made from F*."""

    labels: str = key("sample", "`sample`: y drawn with the probabilities the loss assigns to F* (then F* is optimal); "
                      "`hard`: the most likely label", choices=("sample", "hard"))

    classes = True
    square = False

    @property
    def target_is_optimal(self) -> bool:
        return self.labels == "sample"

    @abstractmethod
    def scores(self, target: "Tensor") -> "Tensor":
        """Return the logits [n, classes] that the target's values [n, k] stand for."""

    @abstractmethod
    def encoded(self, classes: "Tensor", target: "Tensor") -> "Tensor":
        """Return classes [n] as labels [n, k], of the target's dtype."""

    def label(self, target: "Tensor", noise: Noise, rng: "np.random.Generator") -> "Tensor":
        scores = self.scores(target)
        # Three numbers per sample, in one block: the labels of the first samples do not depend on how many follow.
        draws = target.new_tensor(rng.random((len(scores), 3)))
        if self.labels == "hard":
            classes = scores.argmax(-1)
        else:
            cumulative = scores.softmax(-1).cumsum(-1)[:, :-1]
            classes = (draws[:, :1] > cumulative).sum(-1)
        return self.encoded(noise.change(classes, scores.shape[-1], draws[:, 1:]), target)


@loss("logistic")
class Logistic(_Classification):
    """log(1 + exp(-y F)): 1-Lipschitz, 1/4-smooth, L(0, y) = log 2. Labels are -1 and 1, k = 1."""

    def value(self, output: "Tensor", y: "Tensor") -> "Tensor":
        from torch.nn.functional import softplus

        return softplus(-y * output).sum(-1)

    def gradient(self, output: "Tensor", y: "Tensor") -> "Tensor":
        return -y * (-y * output).sigmoid()

    def scores(self, target: "Tensor") -> "Tensor":
        import torch

        return torch.cat([torch.zeros_like(target), target], -1)

    def encoded(self, classes: "Tensor", target: "Tensor") -> "Tensor":
        return (2.0 * classes - 1.0).to(target.dtype)[:, None]

    def check(self, config: "Config") -> None:
        if config.concept.k != 1:
            raise ConfigError("concept.k", config.concept.k, "loss=logistic has two classes and 1 output; use "
                              "loss=cross_entropy for more")


@loss("cross_entropy")
class CrossEntropy(_Classification):
    """Cross-entropy of softmax F: sqrt(2)-Lipschitz (Euclidean norm), 1-smooth, L(0, y) = log k. Labels are one-hot."""

    def value(self, output: "Tensor", y: "Tensor") -> "Tensor":
        return output.logsumexp(-1) - (output * y).sum(-1)

    def gradient(self, output: "Tensor", y: "Tensor") -> "Tensor":
        return output.softmax(-1) - y

    def scores(self, target: "Tensor") -> "Tensor":
        return target

    def encoded(self, classes: "Tensor", target: "Tensor") -> "Tensor":
        from torch.nn.functional import one_hot

        return one_hot(classes, target.shape[-1]).to(target.dtype)

    def check(self, config: "Config") -> None:
        if config.concept.k < 2:
            raise ConfigError("concept.k", config.concept.k, "loss=cross_entropy needs one output per class: at least "
                              "2")
