"""`treepo_spo`: advantages of segments from values normalised among siblings."""

from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import branch_means, largest_size, normalise_siblings
from treepo.advantage.registry import register_estimator
from treepo.advantage.treepo_segment import segment_differences
from treepo.config import AdvantageConfig


@register_estimator("treepo_spo", reads=("shared_tokens",), spans=SpanKind.NODE, whitened=False)
def treepo_spo_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Advantage per segment from node values normalised among siblings (the published implementation's).

    A leaf's value is its reward, an inner node's the plain mean of its children's. Then the values of two or more
    siblings are normalised by their mean and population standard deviation (zero where that is zero), and

        A(k) = value(node k) - value(node k-1)

    with value(root) = 0. No whitening. `branch_weights` would change nothing: the mean of the children is the mean it
    asks for.
    """
    values = branch_means(batch.forest, batch.rewards)
    deeper = zip(values[1:], batch.forest.levels[1:], batch.forest.levels[:-1], strict=True)
    values[1:] = [
        normalise_siblings(value, level.parents, largest_size(above, batch.rewards)) for value, level, above in deeper
    ]
    return segment_differences(batch.forest, values, None)
