"""The HOG and SVM baseline, and approaches beside each other."""
