// Nothing: what evaluating any script costs.
