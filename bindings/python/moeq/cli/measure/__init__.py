"""What reports and differences are made of: weights in one form, pairs of them, errors, times."""
