"""Metrics and statistics: accuracy, calibration, intervals, paired tests. numpy alone."""
