"""Reference values for the counterfactual oracle of `src/semantics/counterfactual.rs`, from scikit-learn and numpy.

    python tests/reference/counterfactual.py        # writes tests/goldens/counterfactual.json

Features of four overlapping classes, a head with two rows swapped, and what a refitted head says of each misclassified row: its class,
its margin, and both heads' margins on a typical feature. Rows are in content order: row i is in fold i mod 5.
"""

import json
import pathlib

import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "counterfactual.json"
ROWS, WIDTH, CLASSES, FOLDS = 90, 6, 4, 5


def cross_fitted(features, labels):
    """Scores of each row by a head fitted to the other folds, with the penalty of least squared error."""
    one_hot, fold = np.eye(CLASSES)[labels], np.arange(ROWS) % FOLDS
    scale = ((features - features.mean(0)) ** 2).sum() / WIDTH
    tried = []
    for k in range(-6, 2):
        scores = np.zeros((ROWS, CLASSES))
        for left in range(FOLDS):
            head = Ridge(alpha=10.0**k * scale, solver="cholesky").fit(features[fold != left], one_hot[fold != left])
            scores[fold == left] = head.predict(features[fold == left])
        tried.append((((scores - one_hot) ** 2).sum(), k, scores))
    error, k, scores = min(tried, key=lambda found: found[0])
    errors = sorted(found[0] for found in tried)
    assert errors[1] - errors[0] > 1e-6, "the penalty is chosen clearly"
    return k, scores


def typical(scores, labels, k, p):
    """The pooled standard deviation of the margins of k over p within both classes, and their median over k in it."""
    margins = scores[:, k] - scores[:, p]
    groups = [margins[labels == c] for c in (k, p)]
    deviation = np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / (sum(map(len, groups)) - 2))
    return deviation, np.median(groups[0]) / deviation


def main():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, ROWS)
    centres = rng.normal(size=(CLASSES, WIDTH))
    features = (1.2 * centres[labels] + rng.normal(size=(ROWS, WIDTH)) + 0.5).astype(np.float32)
    head = RidgeClassifier(alpha=1.0).fit(features.astype(np.float64), labels)
    logits = features @ head.coef_[[1, 0, 2, 3]].T + head.intercept_[[1, 0, 2, 3]]
    logits = (3.0 * logits).astype(np.float32)
    predictions = logits.argmax(1)
    k, scores = cross_fitted(features.astype(np.float64), labels)
    expected = []
    for row in np.flatnonzero(predictions != labels):
        pair = int(labels[row]), int(predictions[row])
        (own_deviation, own), (deviation, refit) = typical(logits.astype(np.float64), labels, *pair), typical(scores, labels, *pair)
        margin = (scores[row, pair[0]] - scores[row, pair[1]]) / deviation
        expected.append({"row": int(row), "class": int(scores[row].argmax()), "margin": margin, "typical_refit": refit, "typical_own": own})
    golden = {
        "exponent": k, "features": features.tolist(), "logits": logits.tolist(), "labels": labels.tolist(),
        "predictions": predictions.tolist(), "expected": expected,
    }
    GOLDEN.write_text(json.dumps(golden) + "\n")
    print(f"{len(expected)} of {ROWS} misclassified, penalty 1e{k} of the mean diagonal")


if __name__ == "__main__":
    main()
