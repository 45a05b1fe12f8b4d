"""What is measured of trained networks: paths, planes, curvature, robustness."""
