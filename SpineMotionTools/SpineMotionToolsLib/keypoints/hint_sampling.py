"""How many hints a training step starts with: the distributions of the two published recipes."""

from __future__ import annotations

import numpy as np

# 0..10 hints, after epoch 20 of the Project recipe.
PROJECT_HINT_PROBABILITIES = np.array([2.0**-2, *(2.0**-k for k in range(1, 11))])
PROJECT_HINT_PROBABILITIES /= PROJECT_HINT_PROBABILITIES.sum()

# 0..67 hints of the MICCAI recipe: 1/8, then 1/2, 1/4, ... 1/4096, and 1/4096 again; never more than 12.
MICCAI_HINT_PROBABILITIES = np.zeros(68)
MICCAI_HINT_PROBABILITIES[:13] = [1 / 8, 1 / 2, 1 / 4, *(2.0**-k for k in range(4, 13)), 2.0**-12]
