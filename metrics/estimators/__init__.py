"""What several metrics share: uncertainty, standardisation, kernel sums, real floors."""
