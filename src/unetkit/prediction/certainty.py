"""How sure a prediction is: the entropy of its probabilities, and how far predictions disagree.

Both are relative to the entropy of equal probabilities, log K, and so from 0 to 1 for any number of
classes K.
"""

import numpy as np

from unetkit.prediction.engine import softmax


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the class probabilities of each pixel: 0 if one is 1, 1 if all are equal.

        u = -sum_k p_k log p_k / log K

    Args:
        probabilities: (..., K) float32 with sum 1 over the classes; nan where there is no data.

    Returns:
        (...) float32 in [0, 1]; nan where there is no data.

    Source: Shannon 1948.

    >>> entropy(np.array([[1, 0], [0.5, 0.5]], np.float32))
    array([0., 1.], dtype=float32)
    """
    num_classes = probabilities.shape[-1]
    total = np.zeros(probabilities.shape[:-1], np.float32)
    least = np.finfo(np.float32).tiny  # 0 log 0 is 0
    for k in range(num_classes):
        plane = probabilities[..., k]
        total -= plane * np.log(np.maximum(plane, least))
    return np.clip(total / np.float32(np.log(max(2, num_classes))), 0, 1)


def calibrated(scores: np.ndarray, num_classes: int, temperature: float) -> np.ndarray:
    """Divides log-probabilities by a temperature.

        p_k^(1 / T) / sum_j p_j^(1 / T)

    This is done at the size of the image, so that the most probable class stays the same.

    Args:
        scores: Probabilities, (..., K) float32, or (..., K + 1) with one more score, which stays.
        num_classes: Number of classes K.
        temperature: Temperature T; with 1, the scores themselves are returned.

    Returns:
        As `scores`.

    >>> calibrated(np.array([[0.9, 0.1]], np.float32), 2, 2.0).round(3)
    array([[0.75, 0.25]], dtype=float32)
    """
    if temperature == 1:
        return scores
    least = np.finfo(np.float32).tiny
    logs = np.log(np.maximum(scores[..., :num_classes], least)) * np.float32(1 / temperature)
    return np.concatenate([softmax(logs), scores[..., num_classes:]], axis=-1)


class MeanScores:
    """Mean of the scores of several predictions of an image, taken one by one.

    Args:
        num_classes: Number of classes K.
        measures_disagreement: Whether `disagreement` will be asked for.
    """

    def __init__(self, num_classes: int, measures_disagreement: bool = False) -> None:
        self._num_classes = num_classes
        self._count = 0
        self._sum: np.ndarray | None = None
        self._entropies: np.ndarray | None = None
        self._measures_disagreement = measures_disagreement

    def add(self, scores: np.ndarray) -> None:
        """Adds a prediction.

        Args:
            scores: Probabilities, (H, W, K) float32, or (H, W, K + 1) with one more score.
        """
        self._count += 1
        if self._sum is None:
            self._sum = scores  # that of the caller, not to be changed
        else:
            self._sum = np.add(self._sum, scores, out=None if self._count == 2 else self._sum)
        if self._measures_disagreement:
            one = entropy(scores[..., : self._num_classes])
            self._entropies = one if self._entropies is None else self._entropies + one

    def scores(self) -> np.ndarray:
        """Mean of the scores, of their shape, float32; of a single prediction, its own array."""
        if self._sum is None:
            raise TypeError("no prediction was added")
        return self._sum if self._count == 1 else self._sum / np.float32(self._count)

    def disagreement(self) -> np.ndarray:
        """Mutual information of the class and the prediction, relative to log K.

            d = u(mean of p) - mean of u(p)

        0 if all predictions have the same probabilities, even if none is sure; 1 if each class is
        certain for as many predictions as every other.

        Returns:
            (H, W) float32 in [0, 1]; nan where there is no data.

        Source: Houlsby et al., Bayesian active learning for classification and preference
        learning, arXiv 1112.5745, equation 2.
        """
        if self._entropies is None:
            raise TypeError("disagreement is asked for, but was not measured")
        of_mean = entropy(self.scores()[..., : self._num_classes])
        return np.clip(of_mean - self._entropies / np.float32(self._count), 0, 1)
